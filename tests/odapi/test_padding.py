"""Every box list of a model, and every tensor of its input, is cut or filled to a size."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("object_detection", reason="the patched tree is not built: ./build.sh")

Size = int | None
CASES = [
    ((), ()),
    ((3,), (5,)),
    ((5,), (3,)),
    ((5,), (None,)),
    ((0, 4), (3, 4)),
    ((3, 4), (0, 4)),
    ((7, 4), (5, None)),
    ((2, 6), (5, 3)),
    ((2, 6, 3), (None, 4, 3)),
    ((4, 1, 3, 2), (2, None, 5, 2)),
]


def expected(array: np.ndarray, sizes: tuple[Size, ...]) -> np.ndarray:
    """As numpy does it."""
    shape = [old if new is None else new for old, new in zip(array.shape, sizes, strict=True)]
    result = np.zeros(shape, array.dtype)
    kept = tuple(slice(min(old, new)) for old, new in zip(array.shape, shape, strict=True))
    result[kept] = array[kept]
    return result


@pytest.mark.parametrize("known", ["sizes known", "sizes of tensors", "shape unknown"])
@pytest.mark.parametrize(("shape", "sizes"), CASES)
def test_a_tensor_is_cut_or_filled_with_zeros(shape, sizes, known):
    import tensorflow as tf
    from object_detection.utils import shape_utils

    array = np.random.default_rng(1).normal(size=shape).astype(np.float32)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None] * len(shape) if known == "shape unknown" else shape),
            [tf.TensorSpec([], tf.int32)] * len([size for size in sizes if size is not None]),
        ],
        autograph=False,
    )
    def pad_or_clip(tensor, given):
        given = iter(given)
        wanted = [
            next(given) if size is not None and known == "sizes of tensors" else size
            for size in sizes
        ]
        result = shape_utils.pad_or_clip_nd(tensor, wanted)
        static = [size if isinstance(size, int) else None for size in wanted]
        assert result.shape.is_compatible_with(static)
        assert all(
            size is None or size == of_result
            for size, of_result in zip(static, result.shape, strict=True)
        )
        return result

    given = [tf.constant(size) for size in sizes if size is not None]
    result = pad_or_clip(tf.constant(array), given).numpy()
    np.testing.assert_array_equal(result, expected(array, sizes))


@pytest.mark.parametrize("values", [[b"cat", b"dog"], [True, True], [1, 2]])
def test_what_fills_is_the_zero_of_the_type(values):
    import tensorflow as tf
    from object_detection.utils import shape_utils

    padded = shape_utils.pad_or_clip_nd(tf.constant(values), [3]).numpy().tolist()
    assert padded == [*values, type(values[0])()]


def test_a_dimension_more_is_no_operation_more():
    """Of the graph of a step, one in eight was one to pad or clip a single dimension."""
    import tensorflow as tf
    from object_detection.utils import shape_utils

    def operations(sizes: list[Size]) -> int:
        with tf.Graph().as_default() as graph:
            shape = [None] * len(sizes)
            shape_utils.pad_or_clip_nd(tf.compat.v1.placeholder(tf.float32, shape), sizes)
        return len(graph.get_operations())

    assert operations([5, 4, 3]) == operations([5])
    # The size of a dimension that stays is read from the shape.
    assert operations([5, None]) > operations([5])
