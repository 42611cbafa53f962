"""One name for each thing in every command; its other names mean the same."""

from __future__ import annotations

import argparse

import pytest

from odapi import cli
from odapi.console.arguments import ALIASES
from odapi.console.errors import UserError

IMPORT = ["data", "import", "labels", "--format", "coco", "--images", "images"]
COMMANDS = {
    "data import": (IMPORT, ["--output_dir", "--label_map", "--force"]),
    "data stats": (["data", "stats", "a.record"], ["--label_map"]),
    "data show": (["data", "show", "a.record"], ["--output_dir", "--label_map"]),
    "convert": (["convert", "model.keras"], ["--output_dir", "--label_map", "--force"]),
    "doctor": (["doctor"], ["--config", "--label_map"]),
    "train": (["train"], ["--config", "--model_dir"]),
    "evaluate": (["evaluate"], ["--config", "--checkpoint", "--output_dir"]),
    "export": (["export"], ["--config", "--checkpoint", "--output_dir", "--force"]),
    "predict": (
        ["predict", "a.png"],
        ["--config", "--checkpoint", "--output_dir", "--label_map"],
    ),
    "demo": (["demo"], ["--output_dir"]),
}
"""Command to what it is given besides, and its flags that have other names."""

CASES = [
    (command, flag, alias)
    for command, (_, flags) in COMMANDS.items()
    for flag in flags
    for alias in ALIASES.get(flag, ("--output_dir",))
]


def parse(command: str, **renamed: str) -> argparse.Namespace:
    """All of the command's flags that have other names, with some under another."""
    given, flags = COMMANDS[command]
    words = list(given)
    for flag in flags:
        name = renamed.get(flag.removeprefix("--"), flag)
        words += [name] if flag == "--force" else [name, f"the {flag[2:]}"]
    return cli._parse(words)


def test_every_command_is_looked_at():
    assert {command.split()[0] for command in COMMANDS} == set(cli.COMMANDS)


@pytest.mark.parametrize(("command", "flag", "alias"), CASES)
def test_another_name_means_the_same(command, flag, alias):
    name = flag.removeprefix("--")
    plain = parse(command)
    assert getattr(plain, name)
    assert vars(parse(command, **{name: alias})) == vars(plain)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_name_that_is_none_is_refused(command):
    flag = COMMANDS[command][1][0]
    name = flag.removeprefix("--")
    for wrong in (f"{flag}s", flag[:-1]):
        with pytest.raises(UserError):
            parse(command, **{name: wrong})


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_the_one_name_and_the_others_after_it(command, capsys):
    given, flags = COMMANDS[command]
    with pytest.raises(SystemExit):
        cli.main([*given, "--help"])
    text = " ".join(capsys.readouterr().out.split())
    usage, _, rest = text.partition(" options: ")
    for flag in flags:
        assert f"{flag} " in usage.replace("]", " ")
        assert f"{flag} " in rest
        for alias in ALIASES.get(flag, ()):
            assert f"{alias} " not in usage
            assert f"{alias}," in rest or f"{alias})" in rest


def test_complaints_have_the_one_name(capsys):
    assert cli.main(["train", "--model_dir=m", "--pipeline_config_path"]) == 2
    assert "argument --config: expected one argument" in capsys.readouterr().err
    assert cli.main(["evaluate", "--config=a"]) == 2
    assert "one of the arguments --checkpoint --saved_model is required" in capsys.readouterr().err
