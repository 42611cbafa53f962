"""Model code that needed AutoGraph in some configs gives the same without, or is traced with it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.small import training

pytest.importorskip("object_detection", reason="the patched tree is not built: ./build.sh")


def graph(function, *arrays):
    """What a function returns in a graph without AutoGraph, for arrays of sizes unknown there."""
    import tensorflow as tf

    signature = [tf.TensorSpec([None] * array.ndim, array.dtype) for array in arrays]
    return tf.function(function, input_signature=signature, autograph=False)(*arrays)


@pytest.mark.parametrize(("size", "padded"), [((33, 64), (64, 64)), ((64, 32), (64, 32))])
def test_images_of_unknown_size_are_padded(size, padded):
    from object_detection.utils import ops

    image = np.random.default_rng(1).uniform(size=(2, *size, 3)).astype(np.float32)
    result = graph(lambda image: ops.pad_to_multiple(image, 32), image).numpy()
    assert result.shape == (2, *padded, 3)
    np.testing.assert_array_equal(result[:, : size[0], : size[1]], image)
    assert result.sum(dtype=np.float64) == pytest.approx(image.sum(dtype=np.float64))


@pytest.mark.parametrize("instances", [0, 1, 2])
def test_boxes_are_blacked_out_however_many_there_are(instances):
    from object_detection.utils import target_assigner_utils

    boxes = np.array([[1, 1, 3, 3], [4, 4, 6, 7]], np.float32)[:instances]
    blackout = np.array([True, False])[:instances]
    weights = np.array([2, 0.5], np.float32)[:instances]
    expected = np.ones((8, 8), np.float32)
    for (top, left, bottom, right), black, weight in zip(boxes, blackout, weights, strict=True):
        inside = slice(int(top), int(bottom)), slice(int(left), int(right))
        expected[inside] = 0 if black else weight

    def weigh(boxes, blackout, weights):
        boxes.set_shape([None, 4])
        function = target_assigner_utils.blackout_pixel_weights_by_box_regions
        return function(8, 8, boxes, blackout, weights=weights)

    np.testing.assert_array_equal(graph(weigh, boxes, blackout, weights), expected)


@pytest.mark.parametrize("present", [1, 4])
def test_instances_are_subsampled_where_there_are_too_many(present):
    from object_detection.meta_architectures import deepmac_meta_arch

    classes = np.eye(5, dtype=np.float32)
    weights = (np.arange(5) < present).astype(np.float32)
    boxes = np.repeat(np.arange(5, dtype=np.float32)[:, np.newaxis], 4, axis=1)
    masks = boxes[:, :, np.newaxis]
    chosen = graph(
        lambda *instances: deepmac_meta_arch.subsample_instances(*instances, 2),
        classes,
        weights,
        boxes,
        masks,
    )
    rows = chosen[2].numpy()[:, 0].astype(int)
    assert len(rows) == 2
    assert rows.tolist() == [0, 1] if present <= 2 else max(rows) < present
    for array, of_chosen in zip((classes, weights, boxes, masks), chosen, strict=True):
        np.testing.assert_array_equal(of_chosen, array[rows])


def test_a_step_that_needs_autograph_is_traced_with_it(project, tmp_path, monkeypatch):
    import tensorflow as tf
    from object_detection import model_lib_v2

    normalize = model_lib_v2.normalize_dict

    def normalize_if(losses, replicas):
        scale = 2.0 if tf.reduce_sum(list(losses.values())) > 0 else 1.0
        return {name: loss * scale for name, loss in normalize(losses, replicas).items()}

    assert training.train(project.config, tmp_path / "plain", 1, "--seed=1") == 0
    monkeypatch.setattr(model_lib_v2, "normalize_dict", normalize_if)
    assert training.train(project.config, tmp_path / "doubled", 1, "--seed=1") == 0
    once, twice = (losses(tmp_path / name) for name in ("plain", "doubled"))
    assert twice == {name: pytest.approx(2 * loss) for name, loss in once.items()}


def losses(model_dir):
    [line] = (model_dir / "train_log.jsonl").read_text().splitlines()
    return {name: value for name, value in json.loads(line).items() if name.startswith("Loss/")}


def test_what_fails_with_autograph_as_well_is_told():
    from object_detection.utils import autograph_fallback

    def function():
        raise TypeError("neither")

    with pytest.raises(TypeError, match="neither"):
        autograph_fallback.build(lambda function: function(), function)
