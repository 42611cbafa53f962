"""What the README tells people to run does what it says."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import object_detection  # noqa: F401  (settles Keras 2)
import tensorflow as tf
from PIL import Image

from odapi.pipeline.label_map import load_label_map

README = Path(__file__).parents[1] / "README.md"


def test_the_record_writer_writes_what_the_decoder_reads(tmp_path, monkeypatch):
    from object_detection.data_decoders.tf_example_decoder import TfExampleDecoder

    [program] = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    (tmp_path / "data").mkdir()
    Image.fromarray(np.full((100, 120, 3), 128, np.uint8)).save(tmp_path / "data" / "one.jpg")
    monkeypatch.chdir(tmp_path)

    exec(compile(program, str(README), "exec"), {})

    names = load_label_map("data/label_map.pbtxt", "label_map_path")
    [record] = tf.data.TFRecordDataset("data/train.record")
    decoded = TfExampleDecoder(label_map_proto_file="data/label_map.pbtxt").decode(record)
    assert names == {1: "cat", 2: "dog"}
    assert decoded["image"].shape == (100, 120, 3)
    np.testing.assert_array_equal(decoded["groundtruth_classes"], [1, 2])
    np.testing.assert_allclose(
        decoded["groundtruth_boxes"] * [100, 120, 100, 120],
        [[20, 12, 90, 80], [10, 60, 96, 118]],
        rtol=1e-5,
    )


def test_every_path_the_readme_links_to_exists():
    links = re.findall(r"\]\(([^)#]+)\)", README.read_text())

    assert links
    assert [link for link in links if not (README.parent / link).exists()] == []
