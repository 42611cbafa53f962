"""SIGTERM and SIGINT, in processes of their own: what it does to this one is pytest's."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

PROGRAM = """
import signal, sys
from odapi.console import termination

termination.raise_on_sigterm()
signal.signal(signal.SIGINT, {on_sigint})
asked = []

def ask(number):
    asked.append(signal.Signals(number).name)
    return {answer}

try:
    with termination.first_signal_calls(ask):
        for name in {signals}:
            signal.raise_signal(signal.Signals[name])
except (termination.Terminated, KeyboardInterrupt) as ending:
    print(type(ending).__name__, *asked)
else:
    print("went on", *asked)
    try:
        signal.raise_signal(signal.SIGTERM)
    except termination.Terminated:
        print("terminated after the block")
"""


@pytest.mark.parametrize(
    ("answer", "signals", "expected"),
    [
        (True, [], "went on\nterminated after the block\n"),
        (True, ["SIGTERM"], "went on SIGTERM\nterminated after the block\n"),
        (True, ["SIGINT"], "went on SIGINT\nterminated after the block\n"),
        (True, ["SIGTERM", "SIGTERM"], "Terminated SIGTERM\n"),
        (True, ["SIGTERM", "SIGINT"], "KeyboardInterrupt SIGTERM\n"),
        (True, ["SIGINT", "SIGINT"], "KeyboardInterrupt SIGINT\n"),
        (False, ["SIGTERM"], "Terminated SIGTERM\n"),
        (False, ["SIGINT"], "KeyboardInterrupt SIGINT\n"),
    ],
)
def test_the_first_signal_asks_and_the_next_ends(answer: bool, signals: list[str], expected: str):
    program = PROGRAM.format(answer=answer, signals=signals, on_sigint="signal.default_int_handler")
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == expected, done.stderr


def test_a_signal_that_is_ignored_stays_so():
    program = PROGRAM.format(answer=True, signals=["SIGINT"], on_sigint="signal.SIG_IGN")
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "went on\nterminated after the block\n", done.stderr


def test_a_command_ends_with_143():
    program = (
        "import signal, sys\n"
        "from odapi import cli\n"
        "from odapi.console import termination\n"
        "termination.raise_on_sigterm()\n"
        "cli._parse = lambda argv: signal.raise_signal(signal.SIGTERM)\n"
        "sys.exit(cli.main(['train']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 128 + signal.SIGTERM
    assert done.stderr == "ended by SIGTERM\n"


@pytest.mark.parametrize(("inside", "code"), [(True, -signal.SIGTERM), (False, 0)])
def test_a_wait_outside_of_python_is_ended_at_once(inside: bool, code: int):
    program = (
        "import signal\n"
        "from odapi.console import termination\n"
        "termination.raise_on_sigterm()\n"
        "try:\n"
        "    with termination.at_once():\n"
        f"        if {inside}: signal.raise_signal(signal.SIGTERM)\n"
        "    signal.raise_signal(signal.SIGTERM)\n"
        "except termination.Terminated:\n"
        "    print('raised')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == code, done.stderr
    assert done.stdout == ("" if inside else "raised\n")
