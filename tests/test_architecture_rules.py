"""The checks of tests/test_architecture.py fail where their rule is broken."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.house import page, rules
from tests.house.sources import Source, Sources, imports, named

PAGE = """
| floor | room | what it answers |
|---|---|---|
| 5 | `tests/` | does it work? |
| 4 | `odapi/cli.py` | which commands are there? |
| 3 | `odapi/train/`, `odapi/data/` | how is it trained? |
| 2 | `odapi/console/` | what is said? |
| 1 | `patches/` | what do we add? |
| 0 | `third_party/models/`, `patchqueue/` | what is built? |

## Training

1. `odapi.cli.main` starts a command.
2. `odapi.train.command.run` trains.
3. `odapi.console.terminal.say` says so.
"""
ROOMS = page.rooms(PAGE)
HOOK = "patches/training/loop/files/research/object_detection/training/hook.py"
FILES = {
    "odapi/cli.py": "def main(c): import_module(f'odapi.{c}.command').run()",
    "odapi/train/__init__.py": "",
    "odapi/train/command.py": "from odapi.console.terminal import say\ndef run(): say()",
    "odapi/data/command.py": "def run():\n    from odapi.console import terminal",
    "odapi/console/terminal.py": "from object_detection.utils import ops\ndef say(): ...",
    "patchqueue/tree.py": "import os\nfrom patchqueue import git",
    "patchqueue/git.py": "import subprocess",
    "tests/test_train.py": "from odapi.train import command",
    HOOK: "from object_detection.core import losses\nclass Hook:\n    def after_step(self): ...",
}


def house(**changes: str) -> Sources:
    """The files of a house that keeps the rules, with changes; `__` stands for a slash."""
    files = FILES | {name.replace("__", "/") + ".py": text for name, text in changes.items()}
    return named(Source(path, text) for path, text in files.items())


def long(lines: int) -> str:
    return "def long():\n" + "    pass\n" * (lines - 1)


def test_a_house_in_order_has_no_offences():
    sources = house()
    assert rules.homeless(ROOMS, sources) == []
    assert rules.arrows(ROOMS, sources) == []
    assert rules.cycles(sources) == []
    assert rules.packages(sources) == []
    assert rules.lengths(sources) == []
    assert page.gaps(page.ways(PAGE)["Training"], sources) == []


def test_a_file_without_a_room_is_found():
    assert rules.homeless(ROOMS, house(odapi__new__one="")) == ["odapi/new/one.py: in no room"]


def test_a_room_without_a_file_is_found():
    rooms = [*ROOMS, page.Room(3, "odapi/gone/", "what was there?")]
    assert rules.homeless(rooms, house()) == ["odapi/gone/: empty"]


@pytest.mark.parametrize(
    "text",
    [
        "import odapi.train.command",
        "from odapi.train import command",
        "from odapi import train",
        "from ..train import command",
        "from ..train.command import run",
        "def f():\n    from odapi.train.command import run",
        "if TYPE_CHECKING:\n    from odapi.train.command import run",
        "import importlib\nimportlib.import_module('odapi.train.command')",
        "from importlib import import_module\nimport_module(f'odapi.{name}.command')",
    ],
)
def test_an_arrow_upwards_is_found(text: str):
    offences = rules.arrows(ROOMS, house(odapi__console__errors=text))
    assert any("odapi/console/ on floor 2 imports odapi.train" in one for one in offences)


def test_an_arrow_to_a_neighbour_is_found():
    (offence,) = rules.arrows(ROOMS, house(odapi__data__show="import odapi.train.command"))
    assert offence == (
        "odapi/data/show.py:1: odapi/data/ on floor 3 imports odapi.train.command of odapi/train/ "
        "on floor 3"
    )


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("odapi__train__run", "import tests.test_train"),
        (HOOK.removesuffix(".py"), "from odapi.console import terminal"),
        ("patchqueue__git", "from object_detection.utils import ops"),
        ("patchqueue__git", "from object_detection.training import hook"),
        ("patchqueue__git", "from odapi.console import terminal"),
    ],
)
def test_an_arrow_out_of_its_part_of_the_house_is_found(place: str, text: str):
    assert len(rules.arrows(ROOMS, house(**{place: text}))) == 1


def test_what_an_import_within_strings_says_is_none():
    sources = house(odapi__console__errors="'''import odapi.train'''")
    assert imports(sources)["odapi.console.errors"] == []


def test_a_circle_is_found():
    sources = house(
        odapi__train__plan="from odapi.train import run",
        odapi__train__run="def f():\n    from odapi.train.folder import x",
        odapi__train__folder="import odapi.train.plan",
    )
    (offence,) = rules.cycles(sources)
    for one in ("plan imports odapi.train.run", "run imports odapi.train.folder"):
        assert one in offence + offence.partition(" imports ")[2]


@pytest.mark.parametrize("text", ["import numpy", "from google.protobuf import text_format"])
def test_a_package_in_patchqueue_is_found(text: str):
    assert len(rules.packages(house(patchqueue__git=f"def f():\n    {text}"))) == 1


def test_a_long_function_is_found():
    assert rules.lengths(house(odapi__data__show=long(60))) == []
    (offence,) = rules.lengths(house(odapi__data__show="import os\n" + long(61)))
    assert offence == "odapi/data/show.py:2: long has 61 lines, more than 60"


def test_a_long_method_and_a_long_coroutine_are_found():
    method = "class A:\n" + "".join(f"    {line}\n" for line in long(61).splitlines())
    assert len(rules.lengths(house(odapi__data__show=method))) == 1
    assert len(rules.lengths(house(odapi__data__show="async " + long(61)))) == 1


def test_a_long_file_is_found():
    assert rules.lengths(house(odapi__data__show="#\n" * 400)) == []
    (offence,) = rules.lengths(house(odapi__data__show="#\n" * 401))
    assert offence == "odapi/data/show.py: 401 lines, more than 400"


@pytest.mark.parametrize(
    "name",
    [
        "odapi/gone.py",
        "odapi.gone",
        "odapi.train.command.gone",
        "object_detection.training.hook.Hook.gone",
        "gone.py",
    ],
)
def test_a_name_of_nothing_is_found(name: str, tmp_path: Path):
    (tmp_path / "odapi").mkdir()
    text = f"Look at `odapi/`, `object_detection.training.hook.Hook.after_step` and `{name}`."
    assert page.unknown(text, tmp_path, house()) == [name]


@pytest.mark.parametrize(
    "steps",
    [
        ["odapi.train.command.run", "odapi.data.command.run"],
        ["odapi.cli.main", "odapi.console.terminal.say"],
        ["odapi.train.command.run", "odapi.console.terminal.shout"],
    ],
)
def test_a_step_that_nothing_leads_to_is_found(steps: list[str]):
    sources = house(odapi__console__terminal="def say(): ...\ndef shout(): ...")
    assert page.gaps(steps, sources) == [f"2. {steps[1]}: no step before it leads there"]


def test_rooms_entered_are_counted():
    steps = ["odapi.cli.main", "odapi.train", "odapi.train.command.run", "odapi.cli.main"]
    assert page.entered(steps, ROOMS, house()) == {"odapi/cli.py": 2, "odapi/train/": 1}
