"""Names from files reach the terminal as text: nothing in them is obeyed."""

from __future__ import annotations

import ast
import io
import json
import re
import sys
import unicodedata
from pathlib import Path

import pytest

from odapi.console import terminal
from odapi.console.errors import UserError
from tests.small.hostile import HOSTILE, OBEYED

PACKAGE = Path(terminal.__file__).parents[1]


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_what_is_shown_has_nothing_that_a_terminal_obeys(name):
    assert OBEYED.search(name) or "<" in name or "\n" in name, "the list is hostile"
    shown = terminal.shown(f"class {name} of the map")
    assert not OBEYED.search(shown) and "\n" not in shown
    shown.encode()
    assert len(terminal.shown_name(name)) <= 2 * terminal.NAME_CHARACTERS
    for line in str(UserError(name, at=[name, name], hint=name)).split("\n"):
        assert re.match(r"error: |  at: |      |hint: ", line)
        assert not OBEYED.search(line)


def test_every_control_and_every_mark_of_direction_is_escaped():
    """By Unicode's own tables, but for the joiners that some scripts need."""
    overrides = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    marks = {"LEFT-TO-RIGHT MARK", "RIGHT-TO-LEFT MARK", "ARABIC LETTER MARK"}
    for number in range(0x10000):
        character = chr(number)
        bidi = unicodedata.bidirectional(character)
        control = unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
        turns = bidi in overrides or unicodedata.name(character, "") in marks
        escaped = terminal.shown(character) != character
        assert escaped == (control or turns), f"U+{number:04X}"


@pytest.mark.parametrize("name", ["Möwe", "猫", "🦊", "کتاب‌خانه", "👩‍🚀", "a\\nb"])
def test_names_of_people_are_left_alone(name):
    assert terminal.shown(name) == name


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_printed_json_is_the_same_json(name):
    text = json.dumps({name: name}, indent=1, ensure_ascii=False)
    stream = io.StringIO()
    terminal.EscapingStream(stream).write(text)
    assert not OBEYED.search(stream.getvalue().replace("\n", ""))
    assert json.loads(stream.getvalue()) == {name: name}


def test_the_streams_are_guarded_within_a_command(capsys):
    with terminal.escaping(), terminal.escaping():
        print("a\x1b[2Jb\r\tc\n", end="")
        print("d\x9be", file=sys.stderr)
    print("\x1b[0m")
    assert capsys.readouterr() == ("a\\u001b[2Jb\\r\tc\n\x1b[0m\n", "d\\u009be\n")


def test_a_stream_that_lacks_characters_is_written_to_all_the_same():
    buffer = io.BytesIO()
    stream = terminal.EscapingStream(io.TextIOWrapper(buffer, "ascii", write_through=True))
    print("Möwe", file=stream)
    assert buffer.getvalue() == b"M\\xf6we\n"


def test_commands_print_by_the_functions_that_escape():
    """`print` is for texts of several lines whose parts are escaped already; each has a reason."""
    allowed = {
        "cli.py": 5,  # errors
        "data/command.py": 1,  # JSON
        "doctor/command.py": 1,  # blocks of findings
        "convert/command.py": 1,  # the table of cuts
        "convert/reading/listing.py": 1,  # a table of our own, for the docs
        "console/terminal.py": 1,
    }
    found = {}
    for path in PACKAGE.rglob("*.py"):
        calls = [
            node
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print"
        ]
        if calls:
            found[path.relative_to(PACKAGE).as_posix()] = len(calls)
    assert found == allowed


def test_a_bug_keeps_its_traceback_and_loses_its_control_characters(capsys):
    try:
        raise RuntimeError("layer \x1b[2J")
    except RuntimeError as error:
        terminal.print_traceback(type(error), error, error.__traceback__)
    written = capsys.readouterr().err
    assert "RuntimeError: layer \\u001b[2J" in written and "Traceback" in written
