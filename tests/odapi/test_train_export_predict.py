"""The way of a model: trained, resumed, exported, used; on real records, with a small SSD."""

from __future__ import annotations

import json
import math
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from odapi import cli
from odapi.console.errors import UserError
from odapi.console.files import drop_steps_after
from odapi.export.comparison import compare
from odapi.pipeline.checkpoint import checkpoint_step, find_checkpoint
from odapi.pipeline.config import load
from odapi.predict.run import predict_files
from odapi.predict.sources import find_images, read_image

pytest.importorskip("object_detection", reason="the patched tree is not built: ./build.sh")

ROOT = Path(__file__).parents[2]


def log_of(model_dir: Path) -> list[dict]:
    return [json.loads(line) for line in (model_dir / "train_log.jsonl").read_text().splitlines()]


def test_training_lowers_the_loss_and_logs_every_step(trained):
    log = log_of(trained)
    assert [entry["step"] for entry in log] == list(range(1, 25))
    totals = [entry["losses"]["Loss/total_loss"] for entry in log]
    assert all(math.isfinite(value) for value in totals)
    assert np.mean(totals[-5:]) < 0.8 * np.mean(totals[:5])
    assert {"step", "losses", "learning_rate", "seconds"} == set(log[0])
    assert log[0]["learning_rate"] == pytest.approx(0.002)


def test_the_last_step_is_checkpointed_and_training_resumes_from_it(trained):
    steps = [checkpoint_step(str(trained / f"ckpt-{number}")) for number in (2, 3)]
    assert steps == [20, 24]
    assert find_checkpoint(str(trained), "--model_dir") == str(trained / "ckpt-3")


def test_a_reached_step_is_not_trained_again(project, trained, capsys):
    before = sorted(trained.iterdir())
    arguments = [f"--pipeline_config_path={project.config}", f"--model_dir={trained}"]
    override = '--config_override=train_config { fine_tune_checkpoint: "/gone/ckpt-1" }'
    assert cli.main(["train", *arguments, "--num_train_steps=24", override]) == 0
    text = capsys.readouterr().out
    assert "nothing to do: step 24 of 24" in text
    assert "fine_tune_checkpoint is not used: the checkpoint in model_dir wins" in text
    assert sorted(trained.iterdir()) == before
    assert len(log_of(trained)) == 24


@contextmanager
def training(project, model_dir: Path) -> Iterator[subprocess.Popen[str]]:
    """A training that would go on for longer than any test."""
    command = [sys.executable, "-m", "odapi", "train", f"--pipeline_config_path={project.config}"]
    command += [f"--model_dir={model_dir}", "--num_train_steps=100000"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_until(condition, process: subprocess.Popen[str], seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("number", "code", "says"),
    [(signal.SIGTERM, 143, "ended by SIGTERM\n"), (signal.SIGINT, 130, "interrupted\n")],
)
def test_a_signal_saves_the_step_under_way_and_training_resumes_from_it(
    project, tmp_path, number, code, says
):
    def steps() -> int:
        log = tmp_path / "train_log.jsonl"
        return log.read_text().count("\n") if log.is_file() else 0

    with training(project, tmp_path) as process:
        wait_until(lambda: steps() >= 3, process)
        process.send_signal(number)
        output, error = process.communicate(timeout=120)
    assert process.returncode == code
    assert error == says
    last = log_of(tmp_path)[-1]["step"]
    checkpoint = find_checkpoint(str(tmp_path), "--model_dir")
    assert checkpoint_step(checkpoint) == last == steps() >= 3
    assert f"checkpoint of step {last}: {checkpoint}" in output

    arguments = [f"--pipeline_config_path={project.config}", f"--model_dir={tmp_path}"]
    assert cli.main(["train", *arguments, f"--num_train_steps={last + 2}"]) == 0
    assert [entry["step"] for entry in log_of(tmp_path)] == list(range(1, last + 3))


def test_sigterm_before_the_first_step_ends_training_at_once(project, tmp_path):
    with training(project, tmp_path) as process:
        wait_until((tmp_path / "ckpt-1.index").exists, process)
        process.send_signal(signal.SIGTERM)
        _, error = process.communicate(timeout=120)
    assert process.returncode == 143
    assert error.endswith("ended by SIGTERM\n")
    assert (tmp_path / "train_log.jsonl").read_text() == ""


def test_a_checkpoint_of_another_model_is_refused(project, trained, tmp_path, capsys):
    other = project.variant("wider", num_classes=5)
    arguments = [f"--pipeline_config_path={other}", f"--trained_checkpoint_dir={trained}"]
    assert cli.main(["export", *arguments, f"--output_directory={tmp_path / 'out'}"]) == 2
    error = capsys.readouterr().err
    assert "in another shape" in error
    assert f"at: {trained}/ckpt-3" in error
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_without_the_models_variables_is_refused(tmp_path):
    import tensorflow as tf

    from odapi.detector.detector import _restore

    layer = tf.keras.layers.Dense(2)
    layer.build([None, 3])
    other = str(tmp_path / "ckpt")
    tf.train.Checkpoint(feature_extractor=layer).write(other)
    with pytest.raises(UserError, match="does not hold all variables"):
        _restore(layer, other)


@pytest.fixture(scope="module")
def exported(project, trained) -> Path:
    """The trained model, exported for PNG bytes: the input type that is hardest to feed."""
    output = project.folder / "exported"
    arguments = [
        "export",
        f"--pipeline_config_path={project.config}",
        f"--trained_checkpoint_dir={trained}",
        f"--output_directory={output}",
        "--input_type=tf_example",
    ]
    assert cli.main(arguments) == 0
    return output


def test_values_that_a_checkpoint_gives_are_not_drawn_before(project, trained, monkeypatch):
    import tensorflow as tf

    from odapi.detector import detector

    pipeline_config = load(str(project.config))
    checkpoint = str(tf.train.latest_checkpoint(str(trained)))
    expected = detector.Detector.from_checkpoint(pipeline_config, checkpoint)

    class Drawn(Exception):
        pass

    def draw(*args, **kwargs):
        raise Drawn

    for name in ("truncated_normal", "random_normal"):
        monkeypatch.setattr(tf.compat.v1, f"{name}_initializer", lambda *_, **__: draw)
    given = detector.Detector.from_checkpoint(pipeline_config, checkpoint)
    image = project.scenes[0].image
    np.testing.assert_array_equal(given.detect(image).boxes, expected.detect(image).boxes)

    monkeypatch.setattr(detector, "_without_initial_values", nullcontext)
    with pytest.raises(Drawn):
        detector.Detector.from_checkpoint(pipeline_config, checkpoint)


def test_the_exported_model_is_whole_and_measured(exported):
    names = {path.name for path in exported.iterdir()}
    expected = {"saved_model", "checkpoint", "pipeline.config", "label_map.pbtxt"}
    assert names == expected | {"export_report.json"}
    report = json.loads((exported / "export_report.json").read_text())
    assert report["step"] == 24
    assert report["difference"]["detections"] > 0
    assert report["difference"]["boxes"] <= 1e-2


def test_an_output_directory_in_use_is_not_overwritten(project, trained, exported, capsys):
    arguments = [f"--pipeline_config_path={project.config}", f"--trained_checkpoint_dir={trained}"]
    assert cli.main(["export", *arguments, f"--output_directory={exported}"]) == 2
    assert "hint: take another one, or replace it with --force" in capsys.readouterr().err


def test_an_export_that_detects_something_else_is_thrown_away(
    project, trained, exported, tmp_path, monkeypatch, capsys
):
    """The exporter is replaced by one that writes the model of step 24 instead of step 20."""
    from object_detection import exporter_lib_v2

    def export_wrongly(input_type, settings, checkpoint_dir, output):
        shutil.copytree(exported / "saved_model", Path(output) / "saved_model")

    monkeypatch.setattr(exporter_lib_v2, "export_inference_graph", export_wrongly)
    arguments = [
        "export",
        f"--pipeline_config_path={project.config}",
        f"--trained_checkpoint_dir={trained}/ckpt-2",
        f"--output_directory={tmp_path / 'out'}",
        "--input_type=tf_example",
    ]
    assert cli.main(arguments) == 1
    assert "the SavedModel does not detect what the checkpoint detects" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [], "neither the output nor its staging folder may stay"


def test_one_changed_variable_is_seen_even_where_no_detection_shows_it(project, trained, exported):
    from odapi.detector.detector import Detector

    original = Detector.from_checkpoint(load(str(project.config)), f"{trained}/ckpt-3")
    saved = Detector.from_saved_model(str(exported), "tf_example")
    assert len(saved.variables) > 50
    assert compare(original, saved, []).tolerable
    variable = next(v for v in original.variables if v.name.endswith("ClassPredictor/bias:0"))
    variable.assign(variable + 1e-6)
    assert compare(original, saved, []).variables == 1


def test_predictions_of_checkpoint_and_saved_model_agree(
    project, trained, exported, tmp_path, capsys
):
    """The SavedModel in a process of its own, as a user runs it."""
    images = tmp_path / "images"
    images.mkdir()
    for number, scene in enumerate(project.scenes[:3]):
        Image.fromarray(scene.image).save(images / f"scene{number}.png")
    (images / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    (images / "notes.txt").write_text("not looked at")

    common = ["predict", str(images), "--min_score=0.05"]

    def results(output: Path, error: str) -> list[dict]:
        assert "error: 1 of the images could not be read; the others are done" in error
        assert f"at: {images / 'broken.jpg'}" in error
        assert "Traceback" not in error
        drawn = sorted(path.name for path in output.glob("*.png"))
        assert drawn == ["scene0.png", "scene1.png", "scene2.png"]
        return json.loads((output / "detections.json").read_text())

    model = [f"--pipeline_config_path={project.config}", f"--checkpoint_dir={trained}"]
    model.append("--batch_size=2")  # a batch of two and one of one; the SavedModel, one by one
    assert cli.main([*common, *model, f"--output_directory={tmp_path / 'a'}"]) == 1
    checkpoint = results(tmp_path / "a", capsys.readouterr().err)

    model = [f"--saved_model={exported}", f"--output_directory={tmp_path / 'b'}"]
    done = subprocess.run(
        [sys.executable, "-m", "odapi", *common, *model],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 1, done.stderr
    saved = results(tmp_path / "b", done.stderr)
    # Whatever TensorFlow says goes to the log of --verbose.
    assert done.stderr.splitlines()[0].startswith("error: "), done.stderr

    assert len(checkpoint) == len(saved) > 0
    for one, other in zip(checkpoint, saved, strict=True):
        assert one["file_name"] == other["file_name"]
        assert one["category_name"] in ("red", "blue")
        assert one["category_id"] == other["category_id"]
        assert one["score"] == pytest.approx(other["score"], abs=1e-4)
        assert one["bbox"] == pytest.approx(other["bbox"], abs=1e-2)


def test_checkpoint_and_saved_model_evaluate_alike(project, trained, exported, tmp_path):
    common = ["evaluate", f"--pipeline_config_path={project.config}"]
    results = []
    for name, model in (("a", f"--checkpoint_dir={trained}"), ("b", f"--saved_model={exported}")):
        assert cli.main([*common, model, f"--output_dir={tmp_path / name}"]) == 0
        results.append(json.loads((tmp_path / name / "evaluation.json").read_text()))
    checkpoint, saved = results
    assert checkpoint["metrics"] == pytest.approx(saved["metrics"], abs=1e-3)
    assert (checkpoint["step"], saved["step"]) == (24, None)


def test_images_are_read_the_way_a_person_sees_them(tmp_path):
    upright = np.zeros((20, 30, 3), np.uint8)
    upright[:5] = (250, 0, 0)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise to view
    Image.fromarray(np.rot90(upright)).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "turned.png"), upright)

    grey = np.arange(256, dtype=np.uint16).reshape(16, 16) * 257
    Image.fromarray(grey).save(tmp_path / "deep.png")
    expected = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=2)
    np.testing.assert_array_equal(read_image(tmp_path / "deep.png"), expected)

    Image.fromarray(np.dstack([upright, upright[:, :, :1]])).save(tmp_path / "alpha.png")
    np.testing.assert_array_equal(read_image(tmp_path / "alpha.png"), upright)


def test_pictures_of_the_same_name_do_not_overwrite_each_other(tmp_path):
    from odapi.detector.detector import Detections

    class Blind:
        def detect_batch(self, images, min_score):
            nothing = np.zeros(0, np.float32)
            yield Detections(nothing.reshape(0, 4), nothing, nothing.astype(np.int64))

    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / folder / "x.png")
    images = find_images([str(tmp_path / "a"), str(tmp_path / "b")])
    assert predict_files(Blind(), images, tmp_path / "out", {}) == []
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["detections.json", "x.png", "x_2.png"]
    shutil.rmtree(tmp_path / "out")


def test_log_lines_after_the_checkpoint_and_torn_ones_are_dropped_on_resuming(tmp_path):
    log = tmp_path / "train_log.jsonl"
    lines = [json.dumps({"step": step, "losses": {}}) + "\n" for step in (1, 2, 3)]
    log.write_text("".join(lines) + '{"step": 2, "los')
    drop_steps_after(log, 2)
    assert log.read_text() == lines[0] + lines[1]
