"""Pipeline configs: the file under configs/, and what a batch asks of the resizer."""

from __future__ import annotations

from pathlib import Path

from google.protobuf import text_format
from object_detection.builders import model_builder
from object_detection.protos import pipeline_pb2

from odapi.convert import recipes

CONFIGS = Path(__file__).parents[3] / "configs"


def test_the_reference_config_is_the_one_that_convert_writes_and_builds():
    text = (CONFIGS / "faster_rcnn_vgg16_600x1000.config").read_text()
    config = text_format.Parse(text, pipeline_pb2.TrainEvalPipelineConfig())

    assert config == recipes.faster_rcnn(recipes.TrainingSettings(90))
    model_builder.build(config.model, is_training=True)


def test_images_of_a_batch_are_padded_to_one_shape():
    def resizer(batch_size):
        config = recipes.faster_rcnn(recipes.TrainingSettings(2, batch_size=batch_size))
        return config.model.faster_rcnn.image_resizer.keep_aspect_ratio_resizer

    assert not resizer(1).pad_to_max_dimension
    assert resizer(2).pad_to_max_dimension


def test_a_written_config_reads_back(tmp_path):
    config = recipes.faster_rcnn(
        recipes.TrainingSettings(3, train_records=["a.record", "b.record"]), tf1=True
    )

    recipes.write(config, tmp_path / "pipeline.config")

    text = (tmp_path / "pipeline.config").read_text()
    assert text_format.Parse(text, pipeline_pb2.TrainEvalPipelineConfig()) == config
    assert [path.name for path in tmp_path.iterdir()] == ["pipeline.config"]
