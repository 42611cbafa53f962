"""What a run shows of its progress, on a terminal and in a log."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

ROOT = Path(__file__).parents[3]

PROGRAM = """
import time
from odapi.console.progress import Progress

progress = Progress(10, done=4)
for done in range(5, 9):
    progress.show(done, f"step {done}/10")
    time.sleep(0.15)
progress.make_room()
print("between the steps")
progress.show(10, "step 10/10")
print("afterwards")
"""


def on_a_terminal(program: str) -> str:
    """What a program writes to a terminal of 80 columns."""
    main, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        stdout=terminal,
    ) as process:
        os.close(terminal)
        written = b""
        while True:
            try:
                piece = os.read(main, 1000)
            except OSError:  # Linux's way to tell of the end of a terminal.
                piece = b""
            if not piece:
                break
            written += piece
    os.close(main)
    assert process.returncode == 0
    return written.decode()


def seen(written: str) -> list[str]:
    """The lines that are on the screen in the end."""
    return [line.rpartition("\r")[2].rstrip() for line in written.replace("\r\n", "\n").split("\n")]


def test_a_terminal_has_a_bar_that_makes_room_for_lines():
    written = on_a_terminal(PROGRAM)
    assert "step 5/10" in written and "step 6/10" in written and " 60%|" in written
    lines = seen(written)
    assert lines[0] == "between the steps"
    assert lines[1].startswith("100%|") and lines[1].endswith("| step 10/10")
    assert lines[2] == "afterwards"


def test_a_log_has_plain_lines():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        "step 5/10",
        "step 6/10",
        "between the steps",
        "step 10/10",
        "afterwards",
    ]
    assert done.stderr == ""
