"""What the train loop promises: variables that stay, and steps that are not finite."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.small import training
from tests.small.training import variables

pytest.importorskip("object_detection", reason="the patched tree is not built: ./build.sh")


def train(config: Path, model_dir: Path, steps: int, override: str = "", *more: str) -> int:
    override = f"--config_override=train_config {{ {override} }}"
    return training.train(config, model_dir, steps, "--checkpoint_every_n=1", override, *more)


def changed(model_dir: Path) -> set[str]:
    """Keys of the variables that the second of two steps changed, each with a checkpoint."""
    before, after = variables(model_dir / "ckpt-2"), variables(model_dir / "ckpt-3")
    assert before.keys() == after.keys()
    return {key for key in before if not np.array_equal(before[key], after[key])}


def backbone(model_dir: Path) -> set[str]:
    """Keys of its variables, but for the statistics: those belong to freeze_batchnorm."""
    return {
        key
        for key in variables(model_dir / "ckpt-2")
        if "classification_backbone" in key and "moving_" not in key
    }


class TestFrozenVariables:
    def test_they_stay_to_the_bit_and_the_others_are_trained(self, project, tmp_path, capsys):
        assert train(project.config, tmp_path / "all", 2) == 0
        assert train(project.config, tmp_path / "some", 2, 'freeze_variables: "conv_[dp]w_"') == 0
        # 13 blocks of a depthwise and a pointwise convolution, with gamma and beta after each.
        everything, rest = backbone(tmp_path / "all"), backbone(tmp_path / "some")
        assert everything == changed(tmp_path / "all") & everything
        kept = rest - changed(tmp_path / "some")
        assert len(kept) == 13 * 2 * 3
        assert any("box_predictor" in key for key in changed(tmp_path / "some"))

        lines = [line for line in capsys.readouterr().out.splitlines() if "parameters" in line]
        numbers = [[int(word.replace(",", "")) for word in line.split() if word[0].isdigit()]
                   for line in lines]  # fmt: skip
        (total, trained), (same_total, fewer, frozen) = numbers
        assert (total, trained) == (same_total, fewer + frozen)
        assert frozen == sum(variables(tmp_path / "all/ckpt-2")[key].size for key in kept)

    def test_only_what_update_trainable_variables_names_is_trained(self, project, tmp_path):
        override = 'update_trainable_variables: "BoxPredictor" freeze_variables: "bias"'
        assert train(project.config, tmp_path, 2, override) == 0
        trained = {key for key in changed(tmp_path) if "moving_" not in key}
        assert trained
        assert all("box_predictor" in key.lower() and "kernel" in key for key in trained)

    def test_a_pattern_that_matches_nothing_is_refused(self, project, tmp_path, capsys):
        assert train(project.config, tmp_path, 2, 'freeze_variables: "conv_pv_1/kernel"') == 2
        error = capsys.readouterr().err
        assert 'freeze_variables: "conv_pv_1/kernel" is found in none of the names' in error
        assert "at: config: train_config" in error
        assert "nearest: conv_pw_1" in error

    @pytest.mark.parametrize(
        ("chosen", "frozen", "expected"),
        [
            ([], [], ["a/kernel:0", "a/bias:0", "b/kernel:0"]),
            ([], ["^a/"], ["b/kernel:0"]),
            (["kernel"], [], ["a/kernel:0", "b/kernel:0"]),
            (["kernel"], ["b/", "bias"], ["a/kernel:0"]),
            (["a/", "b/"], ["bias$", "bias:"], 'bias$" is found in none'),
            ([], ["c"], '"c" is found in none of the names of 3 trainable variables, such as a/'),
            (["a("], [], '"a(" is not a regular expression'),
            ([], ["."], "leaves none of 3"),
        ],
    )
    def test_patterns_are_searched_for_in_names(self, chosen, frozen, expected):
        import tensorflow as tf
        from object_detection.protos import train_pb2
        from object_detection.training import trainable_variables

        named = [tf.Variable(0.0, name=name) for name in ("a/kernel", "a/bias", "b/kernel")]
        config = train_pb2.TrainConfig(update_trainable_variables=chosen, freeze_variables=frozen)
        if isinstance(expected, list):
            selected = trainable_variables.select(named, config)
            assert [variable.name for variable in selected] == expected
        else:
            with pytest.raises(trainable_variables.TrainableVariablesError) as caught:
                trainable_variables.select(named, config)
            assert expected in str(caught.value)


class TestStepsThatAreNotFinite:
    @pytest.fixture
    def diverging(self, project) -> Path:
        """Its first step makes weights so large that the second one's penalty on them is not."""
        return project.variant("diverging", learning_rate="1e30")

    def test_training_stops_and_keeps_what_led_to_it(self, project, diverging, tmp_path, capsys):
        assert train(diverging, tmp_path, 5) == 1
        error = capsys.readouterr().err
        assert "Loss/regularization_loss became infinite or not a number at step 2" in error
        assert "lower the learning rate" in error
        assert "Traceback" not in error

        kept = tmp_path / "nonfinite"
        (record,) = map(json.loads, (kept / "steps.jsonl").read_text().splitlines())
        assert record["step"] == 2
        assert record["nonfinite"] == ["Loss/regularization_loss"]
        assert float(record["losses"]["Loss/regularization_loss"]) == np.inf

        # The images are those of the batch, by the ids of the records.
        assert all(image in error for image in record["images"])
        batch = np.load(kept / "batch.npz")
        assert batch["features/image"].shape == (4, 96, 96, 3)
        assert [one.decode() for one in batch["features/source_id"]] == record["images"]
        boxes = batch["labels/groundtruth_boxes"], batch["labels/num_groundtruth_boxes"]
        from tests.small.scenes import make_scene

        scenes = {scene.source_id: scene for scene in
                  (make_scene(seed, objects=(1, 2)) for seed in range(16))}  # fmt: skip
        for image, found, number in zip(record["images"], *boxes, strict=True):
            np.testing.assert_allclose(found[:number], scenes[image].normalized_boxes, atol=1e-6)

        # The variables are those before the step: the update of step 1 is in, and nothing else.
        values = variables(kept / "variables")
        assert all(np.isfinite(value).all() for value in values.values())
        assert not (tmp_path / "ckpt-3.index").exists(), "no checkpoint of a run that diverged"
        log = (tmp_path / "train_log.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in log] == [1]

    def test_with_skip_it_goes_on_and_counts(self, diverging, tmp_path, capsys):
        assert train(diverging, tmp_path, 4, "", "--on_nonfinite=skip") == 0
        output = capsys.readouterr().out
        assert "left out 3 steps whose losses or gradients were not finite" in output
        lines = (tmp_path / "nonfinite/steps.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in lines] == [2, 3, 4]
        assert all(np.isfinite(value).all() for value in variables(tmp_path / "ckpt-5").values())
        assert not (tmp_path / "nonfinite/batch.npz").exists()

    @pytest.mark.parametrize("checked", [True, False])
    def test_a_gradient_that_is_not_finite_does_not_reach_the_variables(self, tmp_path, checked):
        """The loss is finite, its gradient is not: the square root at zero."""
        import tensorflow as tf
        from object_detection import inputs
        from object_detection.utils import nonfinite_steps

        weight = tf.Variable([0.0, 4.0])
        optimizer = tf.keras.optimizers.SGD(0.1)
        recorder = nonfinite_steps.Recorder(str(tmp_path), stop=False)

        @tf.function
        def step():
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(tf.sqrt(weight))
            gradients = tape.gradient(loss, [weight])
            if not checked:
                optimizer.apply_gradients(zip(gradients, [weight], strict=True))
                return
            finite = nonfinite_steps.are_finite(gradients)
            on_nonfinite = recorder.for_batch(
                tf.constant(6, tf.int64), {inputs.HASH_KEY: tf.constant([7, 8])}, {}
            )
            nonfinite_steps.call_unless(finite, lambda: on_nonfinite({"Loss/a": loss}, finite))
            nonfinite_steps.apply_gradients_if(finite, optimizer, gradients, [weight])

        step()
        assert np.isfinite(weight.numpy()).all() == checked
        if checked:
            np.testing.assert_array_equal(weight.numpy(), [0.0, 4.0])
            assert recorder.records == [
                {"step": 7, "nonfinite": ["gradients"], "losses": {"Loss/a": "2.0"},
                 "images": [7, 8]}
            ]  # fmt: skip

    @pytest.mark.parametrize("clip", [None, 0.3])
    @pytest.mark.parametrize("values", [[0.0, 4.0], [1.0, 4.0]])
    def test_the_train_step_looks_at_gradients_clipped_or_not(self, monkeypatch, clip, values):
        """The square root again, in upstream's step; its gradient is one half over the root."""
        import tensorflow as tf
        from object_detection import model_lib_v2

        weight = tf.Variable(values)
        losses = {"Loss/total_loss": lambda: tf.reduce_sum(tf.sqrt(weight))}
        monkeypatch.setattr(
            model_lib_v2,
            "_compute_losses_and_predictions_dicts",
            lambda *_, **__: ({name: loss() for name, loss in losses.items()}, {}),
        )
        monkeypatch.setattr(model_lib_v2.model_lib, "unstack_batch", lambda labels, **_: labels)
        # The step alone leaves the process in the training phase: the loop around it ends that.
        monkeypatch.setattr(model_lib_v2.tf.keras.backend, "set_learning_phase", int)
        model = SimpleNamespace(trainable_variables=[weight], variables=[weight])
        optimizer = tf.keras.optimizers.legacy.SGD(0.1)
        told = []

        def tell(losses: object, finite: tf.Tensor) -> None:
            tf.numpy_function(lambda value: told.append(bool(value)), [finite], [])

        @tf.function(autograph=False)
        def step():
            model_lib_v2.eager_train_step(
                model, {}, {}, False, optimizer, 0, clip_gradients_value=clip, on_nonfinite=tell
            )

        step()
        with np.errstate(divide="ignore"):
            gradient = 0.5 / np.sqrt(values)
        if not np.isfinite(gradient).all():
            assert told == [False]
            np.testing.assert_array_equal(weight.numpy(), values)
            return
        assert told == []
        norm = np.linalg.norm(gradient)
        expected = values - 0.1 * gradient * min(1.0, clip / norm if clip else 1.0)
        np.testing.assert_allclose(weight.numpy(), expected, rtol=1e-6)


def test_models_of_the_process_predict_as_before(project, tmp_path):
    """Training left Keras in its training phase: models normalised by the batch at hand."""
    import tensorflow as tf

    dropout = tf.keras.layers.Dropout(0.5)
    assert train(project.config, tmp_path, 1) == 0
    assert dropout(tf.ones([100])).numpy().tolist() == [1.0] * 100


def test_iterations_of_several_steps_end_with_the_last_step(project, tmp_path):
    """Upstream took ten steps for seven, and left the checkpoint of step 5 as the last."""
    from object_detection import model_lib_v2

    model_lib_v2.train_loop(
        pipeline_config_path=str(project.config),
        model_dir=str(tmp_path),
        train_steps=7,
        num_steps_per_iteration=5,
        checkpoint_every_n=5,
    )
    assert variables(tmp_path, everything=True)["step/.ATTRIBUTES/VARIABLE_VALUE"] == 7
