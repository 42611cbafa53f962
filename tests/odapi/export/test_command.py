"""What `odapi export` says before it loads a model."""

from __future__ import annotations

from pathlib import Path

import pytest

from odapi import cli

EXPORT = ["saved_model/x", "checkpoint/x", "pipeline.config", "export_report.json", "model.onnx"]
TRAINING = ["checkpoint", "ckpt-1.index", "train_log.jsonl"]


def export_to(folder: Path, files: list[str]) -> int:
    """The exit code of an export to a folder that holds some files, from a checkpoint of none."""
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
    config = folder.parent / "pipeline.config"
    config.touch()
    flags = [f"--config={config}", f"--checkpoint={folder}", f"--output_dir={folder}", "--force"]
    return cli.main(["export", *flags])


def test_force_spares_a_training_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export_to(tmp_path / "runs", TRAINING) == 2
    said = capsys.readouterr().err
    assert "would remove ckpt-1.index, train_log.jsonl, which no export wrote" in said
    assert f"at: --output_dir {tmp_path / 'runs'}" in said


def test_force_takes_an_earlier_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export_to(tmp_path / "exported", EXPORT) == 2
    assert "output" not in capsys.readouterr().err
