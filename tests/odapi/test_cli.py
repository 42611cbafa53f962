"""How the command answers: help, mistakes, exit codes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from odapi import cli
from odapi.console.errors import UserError
from odapi.console.progress import Progress, duration

ROOT = Path(__file__).parents[2]


def odapi(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "odapi", *arguments],
        cwd=ROOT,
        env=environment or None,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_help_lists_the_commands_without_loading_tensorflow() -> None:
    code = (
        "import sys; from odapi import cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'tensorflow', 'numpy', 'object_detection'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    for command in (
        "data",
        "convert",
        "doctor",
        "train",
        "evaluate",
        "export",
        "predict",
        "demo",
    ):
        assert f"\n    {command} " in done.stdout


@pytest.mark.parametrize("command", ["doctor", "train", "evaluate", "export", "predict"])
def test_help_of_a_command_documents_its_flags(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "--config FILE" in text
    assert "(also --pipeline_config_path)" in " ".join(text.split())
    assert "exit codes: 0 done, 1 a check failed, 2 wrong usage or bad input" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trian"], ["error: ", "invalid choice: 'trian'", "hint: odapi --help"]),
        (["train"], ["--config", "hint: odapi train --help"]),
        (
            ["train", "--pipeline_config_path=a", "--model_dir=b", "--num_train_steps=0"],
            ["'0' is not a whole number above 0"],
        ),
        (["predict", "x.png", "--output_directory=o"], ["no model is given", "--saved_model DIR"]),
        (
            ["predict", "x.png", "--output_directory=o", "--saved_model=s"],
            ["there is no such image or folder: x.png"],
        ),
        (
            ["evaluate", "--pipeline_config_path=none.config", "--checkpoint_dir=d"],
            ["the pipeline config does not exist: none.config", "at: --config"],
        ),
    ],
)
def test_mistakes_are_answered_in_one_form(
    arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    for word in words:
        assert word in error


def test_a_mistyped_config_is_answered_with_the_nearest_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pipeline.config").write_text("")
    path = tmp_path / "pipline.config"
    assert cli.main(["train", f"--pipeline_config_path={path}", "--model_dir=m"]) == 2
    assert f"did you mean {tmp_path / 'pipeline.config'}?" in capsys.readouterr().err


def test_no_command_prints_the_help_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    assert "usage: odapi" in capsys.readouterr().out


def test_python_m_passes_the_exit_code_on() -> None:
    done = odapi("train")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_interruption_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(argv):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_parse", interrupted)
    assert cli.main(["train"]) == 130


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(argv):
        raise RuntimeError("a bug")

    monkeypatch.setattr(cli, "_parse", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        cli.main(["train"])


def test_an_unbuilt_tree_is_answered_with_the_command_that_builds_it(tmp_path: Path) -> None:
    config = tmp_path / "pipeline.config"
    config.write_text("")
    code = (
        "import sys\n"
        "class Hide:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name == 'object_detection':\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Hide())\n"
        "from odapi import cli\n"
        f"sys.exit(cli.main(['train', '--pipeline_config_path={config}', '--model_dir=m']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2
    assert "error: the patched Object Detection API is not built" in done.stderr
    assert "hint: ./build.sh" in done.stderr


def test_error_lines_are_left_out_where_there_is_nothing_to_say() -> None:
    assert str(UserError("it broke")) == "error: it broke"
    assert str(UserError("it broke", "here", "mend it")) == (
        "error: it broke\n  at: here\nhint: mend it"
    )


def test_progress_in_a_log_shows_first_two_and_last(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(100)
    for step in range(1, 101):
        progress.show(step, f"step {step}")
    assert capsys.readouterr().out.split("\n") == ["step 1", "step 2", "step 100", ""]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(7.6, "8 s"), (59.6, "1 min 0 s"), (310, "5 min 10 s"), (7380, "2 h 3 min")],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text
