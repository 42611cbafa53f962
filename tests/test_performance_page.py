"""The page of figures says what was measured, and the floor is made of all the layers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import page

ROOT = Path(__file__).parents[1]


def test_the_page_is_made_of_the_figures():
    figures = json.loads((ROOT / "benchmarks" / "performance.json").read_text("utf-8"))
    assert (ROOT / "docs" / "performance.md").read_text("utf-8") == page.text(figures)


@pytest.mark.parametrize("rois", [8, None], ids=["faster_rcnn", "ssd"])
def test_the_floor_trains_what_the_detector_trains(rois):
    """A floor without one of the layers would flatter, or accuse, the detector."""
    pytest.importorskip("object_detection", reason="the patched tree is not built: ./build.sh")
    import tensorflow as tf

    from benchmarks import detectors

    try:
        pair = detectors.training(detectors.Case("MobileNetV2", 96, 96, 1, rois, proposals=20))
        assert np.isfinite(pair.detector())
        assert np.isfinite(pair.floor())
    finally:
        tf.keras.backend.set_learning_phase(0)

    layers = [tf.keras.layers.Dense(1, name=name) for name in ("used", "left_out")]
    model = tf.keras.Sequential(layers)
    model.build([None, 1])
    with tf.GradientTape() as tape:
        loss = layers[0](tf.ones([1, 1]))
    with pytest.raises(ValueError, match="leaves out left_out/kernel"):
        detectors.all_gradients(tape, loss, model.trainable_variables)


def test_a_worker_takes_turns_and_its_failure_is_told(tmp_path):
    from benchmarks import timing

    program = tmp_path / "program.py"
    program.write_text(
        "import sys, time\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from benchmarks.timing import serve\n"
        "left = [1, 2, 3]\n"
        "serve(lambda: time.sleep(0.01 / left.pop()))\n"
    )
    with timing.worker(program) as work:
        for _ in range(3):
            work()
        assert work.peak_memory > 5
        with pytest.raises(SystemExit, match="pop from empty list"):
            work()
    assert timing.peak_memory(2**30) == 0
