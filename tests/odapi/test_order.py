"""The order of records that follows from a seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

pytest.importorskip("object_detection", reason="the patched tree is not built: ./build.sh")

FILES, RECORDS = 3, 5
EPOCH = FILES * RECORDS


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Three files of five records each: "0" to "14"."""
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("records")
    paths = [str(folder / f"{number}.record") for number in range(FILES)]
    for number, path in enumerate(paths):
        with tf.io.TFRecordWriter(path) as writer:
            for record in range(RECORDS):
                writer.write(str(number * RECORDS + record).encode())
    return paths


def read(files: Sequence[str], count: int, seed: int | None, first: int = 0, **reader) -> list[int]:
    """The first records that the train reader gives, from one on."""
    import tensorflow as tf
    from object_detection.builders import dataset_builder
    from object_detection.protos import input_reader_pb2

    config = input_reader_pb2.InputReader(**{"shuffle_buffer_size": 4, "num_readers": 2} | reader)
    order = {} if seed is None else {"seed": seed, "first_record": first}
    records = dataset_builder.read_dataset(tf.data.TFRecordDataset, list(files), config, **order)
    return [int(record) for record in records.take(count).as_numpy_iterator()]


def test_each_epoch_has_each_record_once_and_its_own_order(files):
    records = read(files, 3 * EPOCH, seed=1)
    epochs = [tuple(records[start : start + EPOCH]) for start in range(0, 3 * EPOCH, EPOCH)]
    assert [sorted(epoch) for epoch in epochs] == 3 * [list(range(EPOCH))]
    assert len({*epochs, tuple(range(EPOCH))}) == 4


def test_the_seed_gives_the_order(files):
    assert read(files, 40, seed=1) == read(files, 40, seed=1)
    assert read(files, 40, seed=1) != read(files, 40, seed=2)


@pytest.mark.parametrize("first", [1, 7, EPOCH, 2 * EPOCH + 3])
@pytest.mark.parametrize("shuffle", [True, False])
def test_what_is_left_out_at_the_start_is_what_came_before(files, first, shuffle):
    whole = read(files, 60, seed=1, shuffle=shuffle)
    assert read(files, 60 - first, seed=1, first=first, shuffle=shuffle) == whole[first:]


def test_files_that_are_drawn_by_weight_are_left_out_alike(files):
    weights = {"sample_from_datasets_weights": [1.0, 2.0, 0.0]}
    whole = read(files, 60, seed=1, **weights)
    assert set(whole) == set(range(10))
    assert read(files, 40, seed=1, first=20, **weights) == whole[20:]


def test_without_a_seed_the_order_is_not_repeated(files):
    assert len({tuple(read(files, 30, seed=None)) for _ in range(4)}) > 1


class TestScope:
    """Random ops of a graph: what the scope makes of them."""

    @staticmethod
    def drawing(scoped: bool = True) -> Callable[[int], list[np.ndarray]]:
        """A function that draws at a position."""
        import tensorflow as tf
        from object_detection.utils import stateless_random

        def ops() -> list[tf.Tensor]:
            shape = [1000]
            return [
                tf.random.uniform(shape),
                tf.random.uniform(shape),
                tf.random.uniform(shape, -2.0, 3.0),
                tf.random.uniform(shape, 5, 9, tf.int32),
                tf.random.normal(shape),
                tf.random.truncated_normal(shape, 1.0, 2.0),
                tf.random.shuffle(tf.range(1000)),
                tf.random.categorical([[0.0, 0.0, -100.0]], 1000),
                tf.nn.dropout(tf.ones(shape), 0.25),
                tf.cond(tf.random.uniform([]) < 2, lambda: tf.random.normal(shape), lambda: 0.0),
                *tf.compat.v1.image.sample_distorted_bounding_box(
                    [100, 200, 3], [[[0.1, 0.1, 0.9, 0.9]]]
                ),
            ]

        @tf.function
        def function(position: tf.Tensor) -> list[tf.Tensor]:
            if not scoped:
                return ops()
            with stateless_random.scope(7, position):
                return ops()

        return lambda position: [value.numpy() for value in function(tf.constant(position))]

    def test_draws_the_same_at_a_position_and_others_at_another(self):
        draw = self.drawing()
        first, other, again = draw(3), draw(4), draw(3)
        np.testing.assert_array_equal(first[0], self.drawing()(3)[0])
        for one, same in zip(first, again, strict=True):
            np.testing.assert_array_equal(one, same)
        different = [not np.array_equal(one, two) for one, two in zip(first, other, strict=True)]
        assert all(different[:-3])  # The last are a box's begin, size and corners.
        assert any(different[-3:])
        assert not np.array_equal(first[0], first[1])
        unscoped = self.drawing(scoped=False)
        for one, two in zip(unscoped(3)[:-3], unscoped(3)[:-3], strict=True):
            assert not np.array_equal(one, two)

    def test_the_distributions_are_those_of_the_ops(self):
        uniform, _, wide, whole, normal, truncated, order, category, dropped, branch, *_ = (
            self.drawing()(3)
        )
        assert 0 <= uniform.min() < 0.02 and 0.98 < uniform.max() < 1
        assert -2 <= wide.min() < -1.9 and 2.9 < wide.max() < 3
        assert set(whole) == {5, 6, 7, 8}
        assert abs(normal.mean()) < 0.15 and abs(normal.std() - 1) < 0.1
        assert abs(truncated - 1).max() <= 4 and abs(truncated.mean() - 1) < 0.3
        assert sorted(order) == list(range(1000)) and list(order) != sorted(order)
        assert set(category[0]) == {0, 1}
        assert set(dropped) == {0, np.float32(1 / 0.75)} and 0.2 < (dropped == 0).mean() < 0.3
        assert abs(branch.std() - 1) < 0.1

    def test_an_op_that_keeps_a_state_is_named(self):
        import tensorflow as tf
        from object_detection.utils import stateless_random

        traced = tf.function(lambda: tf.random.normal([2], name="elsewhere"))
        traced.get_concrete_function()

        @tf.function
        def function() -> tf.Tensor:
            with stateless_random.scope(1):
                return traced()

        with pytest.raises(ValueError, match="elsewhere"):
            function()

    def test_afterwards_the_ops_are_as_before(self):
        import tensorflow as tf

        self.drawing()(1)
        assert not np.array_equal(tf.random.uniform([9]), tf.random.uniform([9]))
        graph = tf.Graph()
        with graph.as_default():
            tf.random.uniform([2])
        assert "RandomUniform" in {op.type for op in graph.get_operations()}
