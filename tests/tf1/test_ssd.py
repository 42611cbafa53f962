"""What most tutorials for TensorFlow 1 do: train, evaluate and export an SSD of slim's."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.tf1.programs import (
    TREE,
    assert_frozen_graph_detects_as_the_checkpoint,
    detect_with_frozen_graph,
    evaluate,
    losses,
    run,
)

AVERAGE = "/ExponentialMovingAverage"
DECAY = 0.5
WEIGHTS = "FeatureExtractor/MobilenetV1/Conv2d_1_depthwise/depthwise_weights"

CONFIG = """
model {{
  ssd {{
    num_classes: 2
    image_resizer {{ fixed_shape_resizer {{ height: 96 width: 96 }} }}
    feature_extractor {{
      type: "ssd_mobilenet_v1"
      depth_multiplier: 0.25
      min_depth: 8
      conv_hyperparams {{
        activation: RELU_6
        regularizer {{ l2_regularizer {{ weight: 0.00004 }} }}
        initializer {{ truncated_normal_initializer {{ stddev: 0.03 }} }}
        batch_norm {{ train: true scale: true center: true decay: 0.9 epsilon: 0.001 }}
      }}
    }}
    box_coder {{
      faster_rcnn_box_coder {{ y_scale: 10 x_scale: 10 height_scale: 5 width_scale: 5 }}
    }}
    matcher {{ argmax_matcher {{ matched_threshold: 0.5 force_match_for_each_row: true }} }}
    similarity_calculator {{ iou_similarity {{}} }}
    anchor_generator {{
      ssd_anchor_generator {{ num_layers: 6 min_scale: 0.2 max_scale: 0.95 aspect_ratios: 1.0 }}
    }}
    box_predictor {{
      convolutional_box_predictor {{
        kernel_size: 1
        box_code_size: 4
        conv_hyperparams {{
          activation: RELU_6
          regularizer {{ l2_regularizer {{ weight: 0.00004 }} }}
          initializer {{ truncated_normal_initializer {{ stddev: 0.03 }} }}
        }}
      }}
    }}
    loss {{
      classification_loss {{ weighted_sigmoid {{}} }}
      localization_loss {{ weighted_smooth_l1 {{}} }}
      hard_example_miner {{
        num_hard_examples: 100 iou_threshold: 0.99 loss_type: CLASSIFICATION
        max_negatives_per_positive: 3
      }}
      classification_weight: 1.0
      localization_weight: 1.0
    }}
    normalize_loss_by_num_matches: true
    post_processing {{
      batch_non_max_suppression {{
        score_threshold: 1e-8
        iou_threshold: 0.6
        max_detections_per_class: 20
        max_total_detections: 20
      }}
      score_converter: SIGMOID
    }}
  }}
}}
train_config {{
  batch_size: 2
  num_steps: 2
  optimizer {{
    rms_prop_optimizer {{
      learning_rate {{ constant_learning_rate {{ learning_rate: 0.004 }} }}
      momentum_optimizer_value: 0.9
      decay: 0.9
      epsilon: 1.0
    }}
    use_moving_average: true
    moving_average_decay: {decay}
  }}
  data_augmentation_options {{ random_horizontal_flip {{}} }}
}}
train_input_reader {{
  label_map_path: "{label_map}"
  tf_record_input_reader {{ input_path: "{train}" }}
}}
eval_config {{ num_examples: 4 use_moving_averages: true }}
eval_input_reader {{
  label_map_path: "{label_map}"
  shuffle: false
  tf_record_input_reader {{ input_path: "{evaluation}" }}
}}
"""


@pytest.fixture(scope="module")
def config(records, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("ssd") / "pipeline.config"
    path.write_text(CONFIG.format(decay=DECAY, **vars(records)))
    return path


@pytest.fixture(scope="module")
def trained(config) -> tuple[Path, str]:
    """The train_dir after two steps, and what training logged."""
    folder = config.parent / "train"
    # As in the tutorials: without ODAPI_TF_BEHAVIOR, which a program of TF1 sets for itself.
    log = run(
        TREE / "legacy" / "train.py",
        "--logtostderr",
        f"--train_dir={folder}",
        f"--pipeline_config_path={config}",
        behavior=None,
    )
    return folder, log


@pytest.fixture(scope="module")
def exported(config, trained) -> Path:
    folder = config.parent / "exported"
    run(
        TREE / "export_inference_graph.py",
        "--input_type=image_tensor",
        f"--pipeline_config_path={config}",
        f"--trained_checkpoint_prefix={trained[0] / 'model.ckpt-2'}",
        f"--output_directory={folder}",
        behavior=None,
    )
    return folder


def test_two_steps_train_every_variable_and_its_average(trained):
    folder, log = trained
    reader = tf.train.load_checkpoint(str(folder / "model.ckpt-2"))
    names = set(reader.get_variable_to_shape_map())

    assert len(losses(log)) == 2
    assert all(math.isfinite(loss) and loss > 0 for loss in losses(log))
    assert reader.get_tensor("global_step") == 2
    for name in (WEIGHTS, "BoxPredictor_0/ClassPredictor/weights"):
        value, average = reader.get_tensor(name), reader.get_tensor(name + AVERAGE)
        # An average trails its variable, and not by far after two small steps.
        assert 0 < np.abs(value - average).max() < 0.1
    trained_by_optimizer = {name.removesuffix("/RMSProp") for name in names if "/RMSProp" in name}
    averaged = {name.removesuffix(AVERAGE) for name in names if name.endswith(AVERAGE)}
    assert len(averaged) > 50
    assert averaged == {name for name in trained_by_optimizer if "/RMSProp" not in name}


def test_evaluation_writes_the_mean_average_precision(config, trained):
    log, written = evaluate(config, trained[0], behavior=None)

    assert 0 <= written["PascalBoxes_Precision/mAP@0.5IOU"] <= 1
    assert math.isfinite(written["Losses/Loss/localization_loss"])
    assert "# success: 4" in log and "# skipped: 0" in log


def test_the_frozen_graph_detects_as_the_averaged_checkpoint(
    config, trained, exported, records, tmp_path
):
    assert_frozen_graph_detects_as_the_checkpoint(
        exported / "frozen_inference_graph.pb",
        config,
        trained[0] / "model.ckpt-2",
        records.image,
        tmp_path,
    )


def test_the_saved_model_detects_as_the_frozen_graph(exported, records):
    signature = tf.saved_model.load(str(exported / "saved_model")).signatures["serving_default"]
    found = signature(tf.constant(records.image[np.newaxis]))

    frozen = detect_with_frozen_graph(exported / "frozen_inference_graph.pb", records.image)
    for name, value in frozen.items():
        np.testing.assert_allclose(found[name], value, atol=1e-5, err_msg=name)


def test_training_goes_on_from_what_it_exported(config, exported, tmp_path):
    """`fine_tune_checkpoint` with `from_detection_checkpoint: true`, the tutorials' second step."""
    fine_tuning = tmp_path / "pipeline.config"
    fine_tuning.write_text(
        config.read_text()
        .replace(
            "  num_steps: 2\n",
            f'  num_steps: 1\n  fine_tune_checkpoint: "{exported / "model.ckpt"}"\n'
            "  from_detection_checkpoint: true\n",
        )
        # Nothing moves, so that what training writes is what it restored.
        .replace("learning_rate: 0.004", "learning_rate: 0.0")
    )

    run(
        TREE / "legacy" / "train.py",
        f"--train_dir={tmp_path / 'train'}",
        f"--pipeline_config_path={fine_tuning}",
        behavior=None,
    )

    before = tf.train.load_checkpoint(str(exported / "model.ckpt")).get_tensor(WEIGHTS)
    after = tf.train.load_checkpoint(str(tmp_path / "train" / "model.ckpt-1"))
    np.testing.assert_array_equal(after.get_tensor(WEIGHTS), before)
    # Averages that started from random values would take thousands of steps to forget them.
    np.testing.assert_array_equal(after.get_tensor(WEIGHTS + AVERAGE), before)


@pytest.mark.parametrize("program", ["model_main.py", "model_tpu_main.py"])
def test_programs_of_the_removed_estimator_name_their_replacement(program):
    done = subprocess.run([sys.executable, str(TREE / program)], capture_output=True, text=True)

    assert done.returncode == 2
    assert f"error: {program} needs tf.estimator, which TensorFlow 2.16 removed" in done.stderr
    assert "hint: run model_main_tf2.py" in done.stderr
    assert "Traceback" not in done.stderr
