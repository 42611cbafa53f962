"""What happens before the first step happens once, and changes nothing in what is computed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.small import tiny, training

pytest.importorskip("object_detection", reason="the patched tree is not built: ./build.sh")

pytestmark = pytest.mark.sampled(one_in=2, of_file=True)
STEPS = 2
AUGMENTATION = "train_config { data_augmentation_options { random_horizontal_flip {} } }"


@pytest.fixture(scope="module", params=["ssd", "faster_rcnn"])
def config(request, project, tmp_path_factory) -> Path:
    if request.param == "ssd":
        return project.config
    folder = tmp_path_factory.mktemp("faster_rcnn") / "classifier"
    return tiny.write_config(folder, project.folder, "faster_rcnn")


@pytest.fixture
def converted(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Upstream's functions that AutoGraph rewrites from now on, but for those of Keras layers.

    Keras has it rewrite the `call` of its layers, and what that calls.
    """
    from tensorflow.python.autograph.impl import api

    folders = (
        "core",
        "exporter_lib_v2",
        "inputs",
        "meta_architectures",
        "model_lib",
        "model_lib_v2",
        "training",
    )
    names: set[str] = set()
    convert = api._convert_actual

    def convert_and_note(entity, program_context):
        package, _, rest = entity.__module__.partition(".")
        if (
            package == "object_detection"
            and rest.split(".")[0] in folders
            and entity.__name__ != "call"
        ):
            names.add(entity.__qualname__)
        return convert(entity, program_context)

    monkeypatch.setattr(api, "_convert_actual", convert_and_note)
    return names


def run(config: Path, model_dir: Path, *more: str) -> None:
    override = f"--config_override={AUGMENTATION}"
    assert training.train(config, model_dir, STEPS, override, *more) == 0


def with_autograph(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has AutoGraph convert what it converts in upstream's loop."""
    import tensorflow as tf

    experimental = tf.compat.v1.autograph.experimental
    monkeypatch.setattr(experimental, "do_not_convert", lambda function: function)


def test_autograph_is_kept_from_all_but_the_loop_over_steps(config, tmp_path, converted):
    run(config, tmp_path)
    assert converted == {"_iterate"}


def test_values_are_those_that_autograph_would_give(config, tmp_path, monkeypatch):
    run(config, tmp_path / "without", "--seed=1")
    run(config, tmp_path / "other", "--seed=2")
    with_autograph(monkeypatch)
    run(config, tmp_path / "with", "--seed=1")
    without, given, other = (
        training.variables(tmp_path / name, everything=True)
        for name in ("without", "with", "other")
    )
    assert without.keys() == given.keys()
    assert not [key for key in given if given[key].tobytes() != without[key].tobytes()]
    assert [key for key in given if given[key].tobytes() != other[key].tobytes()]


def test_autograph_is_seen_where_it_is_let_in(project, tmp_path, converted, monkeypatch):
    with_autograph(monkeypatch)
    run(project.config, tmp_path)
    assert {"eager_train_step", "SSDMetaArch.predict"} <= converted


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Has an entry for each time that the train step is traced."""
    from object_detection import model_lib_v2

    traces: list[int] = []
    step = model_lib_v2.eager_train_step

    def step_and_count(*args, **kwargs):
        traces.append(len(traces))
        return step(*args, **kwargs)

    monkeypatch.setattr(model_lib_v2, "eager_train_step", step_and_count)
    return traces


@pytest.mark.parametrize(
    "override",
    [
        "",
        'train_config { freeze_variables: "bias" }',
        "train_config { optimizer { use_moving_average: true } }",
        "train_config { gradient_clipping_by_norm: 1 }",
    ],
)
def test_the_train_step_is_traced_once(project, tmp_path, traced, override):
    flag = f"--config_override={override}"
    assert training.train(project.config, tmp_path, STEPS, flag) == 0
    assert len(traced) == 1


def test_a_step_that_makes_variables_is_traced_twice(project, tmp_path, traced, monkeypatch):
    import tensorflow as tf

    create = tf.keras.optimizers.legacy.Optimizer._create_all_weights
    asked: list[int] = []

    def create_later(self, variables):
        if asked:
            create(self, variables)
        asked.append(1)

    monkeypatch.setattr(tf.keras.optimizers.legacy.Optimizer, "_create_all_weights", create_later)
    run(project.config, tmp_path)
    assert len(traced) == 2


@pytest.mark.parametrize(
    "override", ["", "train_config { optimizer { use_moving_average: true } }"]
)
def test_a_model_is_not_run_to_be_restored(config, tmp_path, monkeypatch, override):
    """Upstream computes the losses of a batch, only to have the variables."""
    from object_detection import model_lib_v2

    losses: list[int] = []
    compute = model_lib_v2._compute_losses_and_predictions_dicts

    def compute_and_count(*args, **kwargs):
        losses.append(len(losses))
        return compute(*args, **kwargs)

    monkeypatch.setattr(model_lib_v2, "_compute_losses_and_predictions_dicts", compute_and_count)
    run(config, tmp_path / "first")
    fine_tune = (
        f"train_config {{ fine_tune_checkpoint: '{tmp_path / 'first' / 'ckpt-1'}' "
        "fine_tune_checkpoint_type: 'full' fine_tune_checkpoint_version: V2 }" + override
    )
    assert training.train(config, tmp_path / "second", 1, f"--config_override={fine_tune}") == 0
    assert len(losses) == 2, "one for each training"
    begun, restored = (
        training.variables(tmp_path / folder / "ckpt-1") for folder in ("first", "second")
    )
    assert begun.keys() == restored.keys()
    assert not [key for key in begun if begun[key].tobytes() != restored[key].tobytes()]


@pytest.mark.parametrize("averages", ["false", "true"])
def test_the_first_checkpoint_holds_what_is_not_zero(project, tmp_path, averages):
    override = (
        f"--config_override=train_config {{ optimizer {{ use_moving_average: {averages} }} }}"
    )
    flags = ["--seed=1", override]
    assert training.train(project.config, tmp_path / "whole", STEPS, *flags) == 0
    first, last = (
        training.variables(tmp_path / "whole" / f"ckpt-{number}", everything=True)
        for number in (1, 2)
    )
    missing = {key for key in last.keys() - first.keys() if not key.startswith("optimizer/")}
    if averages == "true":
        assert not missing
    else:  # Adam's moments of each variable.
        assert missing == {key for key in last if "/.OPTIMIZER_SLOT/" in key}

    # What goes on from it is what never ended.
    parts = tmp_path / "parts"
    parts.mkdir()
    for file in [*(tmp_path / "whole").glob("ckpt-1.*"), tmp_path / "whole" / "seed.json"]:
        shutil.copy(file, parts)
    (parts / "checkpoint").write_text('model_checkpoint_path: "ckpt-1"\n')
    assert training.train(project.config, parts, STEPS, override) == 0
    resumed = training.variables(parts, everything=True)
    assert resumed.keys() == last.keys()
    assert not [key for key in last if last[key].tobytes() != resumed[key].tobytes()]


def test_an_exported_model_has_no_functions_of_layers(project, trained, tmp_path, converted):
    from google.protobuf import text_format
    from object_detection import exporter_lib_v2
    from object_detection.protos import pipeline_pb2
    from tensorflow.core.protobuf import saved_model_pb2

    config = text_format.Parse(project.config.read_text(), pipeline_pb2.TrainEvalPipelineConfig())
    exporter_lib_v2.export_inference_graph("image_tensor", config, str(trained), str(tmp_path))
    assert converted == set()
    saved = saved_model_pb2.SavedModel.FromString(
        (tmp_path / "saved_model" / "saved_model.pb").read_bytes()
    )
    graph = saved.meta_graphs[0]
    functions = {
        name
        for node in graph.object_graph_def.nodes
        if node.WhichOneof("kind") == "function"
        for name in node.function.concrete_functions
    }
    assert len(functions) == 1, "the detector's"
    assert set(graph.signature_def["serving_default"].inputs) == {"input_tensor"}


def test_what_training_does_not_use_is_not_imported():
    """LVIS, which takes a second with pyplot and OpenCV, and the Hungarian algorithm.

    And the backend that a notebook chose is not changed to Agg.
    """
    code = (
        "import matplotlib, sys; matplotlib.use('svg'); import object_detection.model_lib_v2; "
        "print(matplotlib.get_backend(), *sys.modules)"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    backend, *modules = process.stdout.split()
    assert backend == "svg"
    assert "object_detection.utils.visualization_utils" in modules
    assert {"cv2", "lvis", "matplotlib.pyplot", "scipy.optimize"}.isdisjoint(modules)


def test_figures_and_colours_are_drawn_without_pyplot(monkeypatch):
    import numpy as np
    import tensorflow as tf
    from object_detection.utils import visualization_utils

    images = []
    monkeypatch.setattr(tf.compat.v1.summary, "image", lambda name, image: images.append(image))
    visualization_utils.add_hist_image_summary(tf.range(10.0), np.arange(11), "histogram")
    (image,) = images
    assert image.shape[0] == 1 and image.shape[3] == 3
    assert 0 < (image.numpy() < 128).mean() < 0.5
    channel = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    drawn = np.zeros((8, 8, 3), np.uint8)
    visualization_utils.draw_float_channel_on_image_array(
        drawn, channel, np.ones((8, 8), np.uint8), alpha=1.0, cmap="gray"
    )
    np.testing.assert_allclose(drawn[..., 0], channel * 255, atol=1.5)


def test_what_one_command_leaves_is_freed_after_the_next_has_begun():
    """Models are cycles: in a process of several commands, all of them stayed in memory."""
    code = (
        "import gc, weakref\n"
        "from odapi.console import runtime\n"
        "class Model: pass\n"
        "def model():\n"
        "    made = Model(); made.itself = made; return weakref.ref(made)\n"
        "runtime.start()\n"
        "assert gc.get_freeze_count(), 'what was imported'\n"
        "left = model()\n"
        "runtime.start()\n"
        "gc.collect()\n"
        "assert left() is None\n"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
