"""Exported TensorFlow Lite and ONNX files, run by their own interpreters as a user runs them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from odapi import cli
from odapi.console.errors import UserError
from odapi.detector.detector import Detections, Detector
from odapi.export import formats
from odapi.export.comparison import Difference
from odapi.pipeline.config import load
from tests.small.scenes import SIDE

pytest.importorskip("tf2onnx", reason="./build.sh test installs requirements/onnx.lock")

PAGE = Path(__file__).parents[3] / "docs/export.md"
FORMATS = ("tflite", "onnx")


def arguments(project, checkpoint: Path | str, output: Path, *more: str) -> list[str]:
    common = ["export", f"--pipeline_config_path={project.config}", *more]
    return [*common, f"--trained_checkpoint_dir={checkpoint}", f"--output_directory={output}"]


@pytest.fixture(scope="module")
def checkpoint(project) -> Detector:
    """Random weights, under which every pixel counts.

    After the few steps that a test can train, the scores are the same for all images, and so in
    any order of the channels.
    """
    import tensorflow as tf
    from object_detection.builders import model_builder

    settings = load(str(project.config))
    tf.keras.backend.set_learning_phase(0)
    model = model_builder.build(settings.model, is_training=False)
    model.predict(*model.preprocess(tf.zeros([1, SIDE, SIDE, 3])))  # builds the variables
    random = np.random.default_rng(0)
    for variable in model.trainable_variables:
        if variable.shape.rank == 4:
            # He et al., arXiv:1502.01852, section 2.2: values stay of the order of one.
            inputs = np.prod(variable.shape[: 2 if "depthwise" in variable.name else 3])
            variable.assign(random.normal(0, np.sqrt(2 / inputs), variable.shape))
        elif variable.name.endswith("bias:0"):
            variable.assign(random.normal(0, 0.1, variable.shape))
    saved = tf.train.Checkpoint(model=model).save(str(project.folder / "random" / "ckpt"))
    return Detector.from_checkpoint(settings, saved)


@pytest.fixture(scope="module")
def exported(project, checkpoint, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("formats") / "exported"
    command = arguments(project, checkpoint.source, output, "--format=saved_model,tflite,onnx")
    assert cli.main(command) == 0
    return output


def interpreter(exported: Path, kind: str) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Runs an exported file, without a line of odapi's."""
    if kind == "tflite":
        import tensorflow as tf

        # A plain interpreter has no TensorFlow (flex) operations: it would refuse such a file.
        lite = tf.lite.Interpreter(str(exported / "model.tflite"))
        return lambda image: lite.get_signature_runner()(input_tensor=image[np.newaxis])
    import onnxruntime

    session = onnxruntime.InferenceSession(str(exported / "model.onnx"))
    names = [output.name for output in session.get_outputs()]
    return lambda image: dict(
        zip(names, session.run(None, {"input_tensor": image[np.newaxis]}), strict=True)
    )


def differences(found: dict[str, np.ndarray], expected: Detections, image: np.ndarray) -> list[str]:
    """Which outputs are not the detections expected, in order of their scores."""
    count = int(found["num_detections"][0])
    boxes = found["detection_boxes"][0, :count] * np.tile(image.shape[:2], 2)
    pairs = {
        "boxes": (boxes, expected.boxes, 1e-2),
        "scores": (found["detection_scores"][0, :count], expected.scores, 1e-4),
        "classes": (found["detection_classes"][0, :count], expected.classes, 0),
    }
    return [
        name
        for name, (one, other, tolerance) in pairs.items()
        if one.shape != other.shape or not np.allclose(one, other, rtol=0, atol=tolerance)
    ]


@pytest.mark.parametrize("kind", FORMATS)
def test_the_file_finds_in_rgb_pixels_what_the_checkpoint_finds(
    project, exported, checkpoint, kind
):
    run = interpreter(exported, kind)
    classes = set()
    for scene in project.scenes[:3]:
        expected = checkpoint.detect(scene.image)
        assert len(expected) == 20
        classes |= set(expected.classes)
        assert differences(run(scene.image), expected, scene.image) == []
        assert "scores" in differences(run(scene.image[:, :, ::-1]), expected, scene.image)
    assert classes == {1, 2}


def test_onnx_takes_images_of_any_size(exported, checkpoint, project):
    image = np.asarray(Image.fromarray(project.scenes[0].image).resize((230, 140)))
    run = interpreter(exported, "onnx")
    assert differences(run(image), checkpoint.detect(image), image) == []


def test_the_programs_of_the_page_find_what_the_checkpoint_finds(
    project, exported, checkpoint, tmp_path, monkeypatch, capsys
):
    programs = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/exported").symlink_to(exported)
    scene = project.scenes[0]
    scene.save(tmp_path / "picture.png").rename(tmp_path / "picture.jpg")  # read by its content
    monkeypatch.chdir(tmp_path)
    expected = checkpoint.detect(scene.image)
    assert len(programs) == 2
    for program in programs:
        variables = {}
        exec(compile(program, str(PAGE), "exec"), variables)
        assert differences(variables["found"], expected, scene.image) == []
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == sum(expected.scores >= 0.5) > 0
    label, *box = map(float, lines[0].split())
    ymin, xmin, ymax, xmax = expected.boxes[0]
    assert label == expected.classes[0]
    assert box == pytest.approx([xmin, ymin, xmax, ymax], abs=1e-2)


def test_the_report_describes_the_files(exported):
    report = json.loads((exported / "export_report.json").read_text())
    assert report["classes"] == [{"id": 1, "name": "red"}, {"id": 2, "name": "blue"}]
    assert set(report["files"]) == {"model.tflite", "model.onnx"}
    for name, height, width in (("model.tflite", SIDE, SIDE), ("model.onnx", -1, -1)):
        described = report["files"][name]
        image = {"name": "input_tensor", "shape": [1, height, width, 3], "dtype": "uint8"}
        assert described["inputs"] == [image]
        assert {output["name"]: output["shape"] for output in described["outputs"]} == {
            "detection_boxes": [1, 20, 4],
            "detection_classes": [1, 20],
            "detection_scores": [1, 20],
            "num_detections": [1],
        }
        assert {output["dtype"] for output in described["outputs"]} == {"float32"}
        assert Difference(**described["difference"]).tolerable
        assert described["difference"]["detections"] > 0


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_that_detects_something_else_is_thrown_away(
    project, checkpoint, exported, tmp_path, monkeypatch, capsys, kind
):
    """One layer's biases are off by a hundredth in what the converter gives."""
    from object_detection import exporter_lib_v2

    bias = next(v for v in checkpoint.variables if v.name.endswith("ClassPredictor/bias:0")).numpy()
    whole = (exported / formats.FILES[kind]).read_bytes()
    damaged = whole.replace(bias.tobytes(), (bias + np.float32(0.01)).tobytes())
    assert damaged != whole
    # The SavedModel is passed over: it takes seconds, and has its own test.
    monkeypatch.setattr(exporter_lib_v2, "export_inference_graph", lambda *_: None)
    monkeypatch.setattr(Detector, "from_saved_model", lambda *_: checkpoint)
    monkeypatch.setattr(Detector, "from_checkpoint", lambda *_: checkpoint)
    monkeypatch.setattr(formats, f"_{kind}_model", lambda *_: damaged)
    assert (
        cli.main(arguments(project, checkpoint.source, tmp_path / "out", f"--format={kind}")) == 1
    )
    error = capsys.readouterr().err
    assert f"the {formats.FILES[kind]} does not detect what the checkpoint detects" in error
    assert list(tmp_path.iterdir()) == [], "neither the output nor its staging folder may stay"


@pytest.mark.parametrize(
    ("override", "says"),
    [
        (
            "model { faster_rcnn { feature_extractor { type: 'faster_rcnn_resnet50_keras' } } }",
            "TensorFlow Lite takes ssd and center_net models, not faster_rcnn",
        ),
        (
            "model { ssd { image_resizer { keep_aspect_ratio_resizer { min_dimension: 96 } } } }",
            "model.ssd.image_resizer.keep_aspect_ratio_resizer",
        ),
    ],
)
def test_what_tflite_cannot_hold_is_refused_before_any_work(
    project, tmp_path, monkeypatch, capsys, override, says
):
    monkeypatch.setattr(Detector, "from_checkpoint", lambda *_: pytest.fail("work was begun"))
    command = arguments(project, tmp_path / "none", tmp_path / "out", "--format", "onnx,tflite")
    assert cli.main([*command, f"--config_override={override}"]) == 2
    assert says in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_operation_that_a_format_does_not_have_is_named():
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([1, 8, 8, 3], tf.uint8, "input_tensor")])
    def decompose(input_tensor):
        values = tf.linalg.svd(tf.cast(input_tensor, tf.float32), compute_uv=False)
        return {"detection_scores": values}

    model = SimpleNamespace(trace=lambda *_: decompose.get_concrete_function(), variables=[])
    with pytest.raises(UserError, match="no operation for something in the model: Svd"):
        formats._tflite_model(model, (8, 8))
    with pytest.raises(UserError, match="no operation for something in the model: Svd"):
        formats._onnx_model(model)


def test_a_missing_package_is_told_before_tensorflow_is_loaded(
    project, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(formats, "find_spec", lambda name: None)
    command = arguments(project, tmp_path / "none", tmp_path / "out")
    assert cli.main([*command, "--format=tflite", "--format=onnx"]) == 2
    error = capsys.readouterr().err
    assert "error: not installed: tf2onnx, onnx, onnxruntime" in error
    assert "--require-hashes -r requirements/onnx.lock" in error


def test_an_unknown_format_is_refused(project, tmp_path, capsys):
    command = arguments(project, tmp_path / "none", tmp_path / "out", "--format=tflite,coreml")
    assert cli.main(command) == 2
    assert "'coreml' is none of saved_model, tflite, onnx" in capsys.readouterr().err
