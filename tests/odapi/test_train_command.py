"""Errors of the command, told by their types."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.small import training

pytest.importorskip("object_detection", reason="the patched tree is not built: ./build.sh")


def train(config: Path, model_dir: Path, override: str = "") -> int:
    return training.train(config, model_dir, 1, f"--config_override={override}")


def test_a_config_that_the_builder_refuses_is_no_bug(project, tmp_path, monkeypatch, capsys):
    from object_detection import model_lib_v2

    text = project.config.read_text()
    without = text.replace("similarity_calculator { iou_similarity {} }", "")
    assert without != text
    config = tmp_path / "pipeline.config"
    config.write_text(without)
    assert train(config, tmp_path / "model") == 2
    printed = capsys.readouterr().err
    assert "error: the model cannot be built: " in printed
    assert "at: config: model" in printed and "Traceback" not in printed

    def broken(**_):
        raise ValueError("a bug")

    monkeypatch.setitem(model_lib_v2.MODEL_BUILD_UTIL_MAP, "detection_model_fn_base", broken)
    with pytest.raises(ValueError, match="a bug"):
        train(project.config, tmp_path / "model")
