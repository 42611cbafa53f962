"""SIGTERM, in processes of their own: what it does to this one is pytest's."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PROGRAM = """
import signal, sys
from odapi import termination

termination.raise_on_sigterm()
asked = []

def ask():
    asked.append(1)
    return {answer}

try:
    with termination.first_sigterm_calls(ask):
        for _ in range({signals}):
            signal.raise_signal(signal.SIGTERM)
except termination.Terminated:
    print("terminated, asked", len(asked))
else:
    print("went on, asked", len(asked))
    try:
        signal.raise_signal(signal.SIGTERM)
    except termination.Terminated:
        print("terminated after the block")
"""


@pytest.mark.parametrize(
    ("answer", "signals", "expected"),
    [
        (True, 0, "went on, asked 0\nterminated after the block\n"),
        (True, 1, "went on, asked 1\nterminated after the block\n"),
        (True, 2, "terminated, asked 1\n"),
        (False, 1, "terminated, asked 1\n"),
    ],
)
def test_the_first_sigterm_asks_and_the_next_ends(answer: bool, signals: int, expected: str):
    program = PROGRAM.format(answer=answer, signals=signals)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == expected, done.stderr


def test_a_command_ends_with_143():
    program = (
        "import signal, sys\n"
        "from odapi import cli, termination\n"
        "termination.raise_on_sigterm()\n"
        "cli._parse = lambda argv: signal.raise_signal(signal.SIGTERM)\n"
        "sys.exit(cli.main(['train']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 128 + signal.SIGTERM
    assert done.stderr == "ended by SIGTERM\n"
