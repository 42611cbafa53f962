"""What is found in a config, its label map and its checkpoint; and that training asks for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("object_detection", reason="the patched tree is not built: ./build.sh")

import tensorflow as tf

from odapi import cli
from odapi.doctor.config import examine, quick
from odapi.doctor.findings import Finding, Kind, Severity
from odapi.doctor.record_files import Counts
from odapi.pipeline.config import Pipeline
from tests.odapi.doctor.material import clean_scenes, masked_features
from tests.small import ssd
from tests.small.records import write_records
from tests.small.scenes import write_label_map


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Records, a label map and a config, all of them clean."""
    records = [masked_features(scene) for scene in clean_scenes(6)]
    write_records(tmp_path / "train.record", records[:4])
    write_records(tmp_path / "eval.record", records[4:])
    write_label_map(tmp_path / "label_map.pbtxt")
    (tmp_path / "pipeline.config").write_text(ssd.config(tmp_path))
    return tmp_path


def found_in(folder: Path, override: str = "", model_dir: Path | None = None) -> list[Finding]:
    pipeline = Pipeline.load(str(folder / "pipeline.config"), override)
    options = {"model_dir": str(model_dir) if model_dir else None}
    return [finding for finding, _ in examine(pipeline, Counts(), **options)]


def write_checkpoint(prefix: Path, root: str) -> Path:
    prefix.parent.mkdir(exist_ok=True)
    layers = tf.train.Checkpoint(kernel=tf.Variable(tf.ones([64, 64])))
    return Path(tf.train.Checkpoint(**{root: layers}).write(str(prefix)))


def test_nothing_is_found_in_a_clean_project(folder):
    checkpoint = write_checkpoint(folder / "start" / "ckpt-1", "feature_extractor")
    assert found_in(folder, fine_tune(checkpoint), folder / "model") == []
    assert quick(Pipeline.load(str(folder / "pipeline.config")), str(folder / "model")) == []


def test_the_demos_own_scenes_and_config_are_clean(tmp_path):
    from odapi.demo import scenes

    digits = scenes.load_digits()
    for name, seed in (("train", 1), ("eval", 2)):
        made = scenes.make_scenes(digits, 20, seed)
        scenes.write_records(made, tmp_path / f"{name}.record", name)
    scenes.write_label_map(tmp_path / "label_map.pbtxt")
    (tmp_path / "pipeline.config").write_text(ssd.config(tmp_path, num_classes=10))
    masks = "load_instance_masks: true mask_type: PNG_MASKS"
    found = found_in(
        tmp_path, f"train_input_reader {{ {masks} }} model {{ ssd {{ num_classes: 10 }} }}"
    )
    assert found == []


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Kind.LABEL_MAP_UNREADABLE, "red\nblue\n"),
        (Kind.LABEL_MAP_UNREADABLE, None),
        (Kind.LABEL_MAP_ID, "item { id: 0 name: 'red' } item { id: 1 name: 'blue' }"),
        (Kind.LABEL_MAP_ID, "item { id: 1 name: 'red' } item { id: 1 name: 'blue' }"),
        (Kind.LABEL_MAP_ID, ""),
        (Kind.LABEL_MAP_NAME, "item { id: 1 name: 'red' } item { id: 2 name: 'red' }"),
        (Kind.LABEL_MAP_NAME, "item { id: 1 name: 'red' } item { id: 2 }"),
        (Kind.LABEL_MAP_GAP, "item { id: 2 name: 'blue' }"),
        (Kind.LABEL_MAP_SHORT, "item { id: 1 name: 'red' }"),
        (
            Kind.LABEL_MAP_CLASSES,
            "item { id: 1 name: 'red' } item { id: 2 name: 'blue' } item { id: 3 name: 'x' }",
        ),
    ],
)
def test_label_maps(kind, text, folder):
    path = folder / "label_map.pbtxt"
    path.unlink()
    if text is not None:
        path.write_text(text)
    found = [one for one in found_in(folder) if one.kind.slug.startswith("label_map")]
    assert [one.kind for one in found] == [kind], "told once, though two readers name the map"
    assert str(path) in found[0].where + found[0].message


MASK_RCNN = """model { faster_rcnn {
  second_stage_box_predictor { mask_rcnn_box_predictor { predict_instance_masks: true } }
} }"""
TRAIN_PATH = "train_input_reader { tf_record_input_reader { input_path: '%s' } }"


@pytest.mark.parametrize(
    ("kind", "field", "override"),
    [
        (Kind.CONFIG_EXTRACTOR, "model.ssd", "model { ssd { feature_extractor { type: 'x' } } }"),
        (Kind.BATCH_SIZE, "train_config.batch_size", "train_config { batch_size: 0 }"),
        (
            Kind.BATCH_SHAPES,
            "model.ssd.image_resizer",
            "model { ssd { image_resizer { keep_aspect_ratio_resizer { min_dimension: 64 } } } }",
        ),
        (Kind.MASKS_NOT_LOADED, "train_input_reader.load_instance_masks", MASK_RCNN),
        (Kind.RECORDS_MISSING, "train_input_reader", TRAIN_PATH % "/nowhere/*.record"),
        (Kind.RECORDS_SHARED, "eval_input_reader[0]", TRAIN_PATH % "FOLDER/eval.record"),
        (
            Kind.RECORDS_NOT_READ,
            "train_input_reader",
            "train_input_reader { input_type: TF_SEQUENCE_EXAMPLE }",
        ),
        (Kind.BOX_LIMIT, "bbox", "train_input_reader { max_number_of_boxes: 1 }"),
        (Kind.FIELD_TYPE, "mask", "train_input_reader { load_instance_masks: true }"),
    ],
)
def test_configs(kind, field, override, folder):
    found = found_in(folder, override.replace("FOLDER", str(folder)))
    mine = [one for one in found if one.kind is kind]
    assert mine and field in mine[0].where
    # A model of another kind has no num_classes and no extractor of its own here.
    if kind is not Kind.MASKS_NOT_LOADED:
        assert {one.kind for one in found} - {Kind.SOURCE_ID_REPEATED} == {kind}


def fine_tune(path: Path | str, more: str = "fine_tune_checkpoint_type: 'classification'") -> str:
    return (
        f"train_config {{ fine_tune_checkpoint: '{path}' fine_tune_checkpoint_version: V2 {more} }}"
    )


def tf1_checkpoint(folder: Path) -> Path:
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.compat.v1.get_variable("conv/weights", [4])
        session.run(tf.compat.v1.global_variables_initializer())
        saver = tf.compat.v1.train.Saver()
        return Path(saver.save(session, str(folder / "model.ckpt")))


def test_checkpoints_that_do_not_fit(folder):
    prefix = write_checkpoint(folder / "start" / "ckpt-1", "feature_extractor")
    trained = write_checkpoint(folder / "trained" / "ckpt-9", "model")
    frozen = folder / "frozen.pb"
    frozen.write_bytes(b"graph")
    (folder / "none").mkdir()
    cases = [
        (Kind.CHECKPOINT_MISSING, fine_tune(folder / "start/ckpt-2"), "no checkpoint"),
        (Kind.CHECKPOINT_MISSING, fine_tune(f"{prefix}.index"), f"of its files: {prefix}"),
        (Kind.CHECKPOINT_MISSING, fine_tune(folder / "none"), "holds no checkpoint"),
        (Kind.CHECKPOINT_NOT_TF2, fine_tune(tf1_checkpoint(folder)), "TF1 behaviour"),
        (Kind.CHECKPOINT_NOT_TF2, fine_tune(frozen), "not a TF2 checkpoint"),
        (Kind.CHECKPOINT_TYPE, fine_tune(trained), "set fine_tune_checkpoint_type: 'detection'"),
        (
            Kind.CHECKPOINT_TYPE,
            fine_tune(prefix, "fine_tune_checkpoint_type: 'fine_tune'"),
            "none of classification, detection, full",
        ),
        (
            Kind.CHECKPOINT_TYPE,
            fine_tune(prefix, "from_detection_checkpoint: true"),
            "'detection' looks for model/",
        ),
        (
            Kind.CHECKPOINT_VERSION,
            fine_tune(prefix, "fine_tune_checkpoint_version: V1"),
            "set fine_tune_checkpoint_version: V2",
        ),
    ]
    for kind, override, words in cases:
        [finding] = found_in(folder, override)
        assert finding.kind is kind
        assert words in finding.line
        assert "train_config.fine_tune_checkpoint" in finding.where
    [finding] = found_in(folder, fine_tune(prefix), prefix.parent)
    assert finding.kind is Kind.CHECKPOINT_IN_MODEL_DIR


@pytest.mark.parametrize("harm", ["data is gone", "data is cut", "index is damaged"])
def test_a_torn_checkpoint(harm, folder):
    prefix = write_checkpoint(folder / "start" / "ckpt-1", "feature_extractor")
    data, index = Path(f"{prefix}.data-00000-of-00001"), Path(f"{prefix}.index")
    if harm == "data is gone":
        data.unlink()
    elif harm == "data is cut":
        data.write_bytes(data.read_bytes()[:1000])
    else:
        index.write_bytes(index.read_bytes()[:-20])
    [finding] = found_in(folder, fine_tune(prefix))
    assert (finding.kind, finding.file) == (Kind.CHECKPOINT_TORN, str(prefix))


def test_what_model_dir_holds(folder):
    start = write_checkpoint(folder / "start" / "ckpt-1", "feature_extractor")
    model_dir = folder / "model"
    model = tf.train.Checkpoint(kernel=tf.Variable(1.0))
    step = tf.Variable(1, dtype=tf.int64)
    latest = tf.train.Checkpoint(model=model, step=step).save(str(model_dir / "ckpt"))
    assert found_in(folder, "", model_dir) == []
    [finding] = found_in(folder, fine_tune(start), model_dir)
    assert (finding.kind, finding.file) == (Kind.MODEL_DIR_RESUMES, latest)
    Path(f"{latest}.data-00000-of-00001").unlink()
    [finding] = found_in(folder, "", model_dir)
    assert (finding.kind, finding.file) == (Kind.CHECKPOINT_TORN, latest)
    Path(f"{latest}.index").unlink()
    [finding] = found_in(folder, "", model_dir)
    assert finding.kind is Kind.MODEL_DIR_LOST


def test_model_dir_with_the_checkpoint_of_a_classifier(folder):
    """Training would resume from it, restore nothing, and start from random weights."""
    backbone = tf.train.Checkpoint(kernel=tf.Variable(1.0))
    start = tf.train.Checkpoint(feature_extractor=backbone).save(str(folder / "start" / "ckpt"))
    found = found_in(folder, fine_tune(start), folder / "start")
    assert [one.kind for one in found] == [Kind.MODEL_DIR_FOREIGN, Kind.MODEL_DIR_RESUMES]


def test_model_dir_with_an_export_or_its_checkpoint(folder):
    """Of the former training would end at its first checkpoint; the latter it would resume from."""
    model = tf.train.Checkpoint(kernel=tf.Variable(1.0))
    tf.train.Checkpoint(model=model).save(str(folder / "exported" / "checkpoint" / "ckpt"))
    for model_dir in (folder / "exported", folder / "exported" / "checkpoint"):
        [finding] = found_in(folder, "", model_dir)
        assert finding.kind is Kind.MODEL_DIR_FOREIGN
        assert finding.where.endswith(f"--model_dir {model_dir}")


def spoil(folder: Path, name: str, number: int) -> None:
    """Inverts a box of a record."""
    records = [masked_features(scene) for scene in clean_scenes(number)]
    records[-1] |= {"image/object/bbox/xmin": [0.9, 0.9], "image/object/bbox/xmax": [0.1, 0.1]}
    write_records(folder / name, records)


def train(folder: Path) -> int:
    config = f"--pipeline_config_path={folder / 'pipeline.config'}"
    return cli.main(["train", config, f"--model_dir={folder / 'model'}"])


def test_training_does_not_begin_on_a_damaged_record(folder, capsys):
    spoil(folder, "train.record", 3)
    assert train(folder) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: box ends before it begins: box 1 of 2: xmin 0.9, xmax 0.1")
    assert f"at: {folder / 'train.record'}: record 3 (" in error
    assert "image/object/bbox/xmin, xmax" in error
    assert not (folder / "model").exists()


def test_what_concerns_evaluation_alone_is_a_warning_of_training(folder):
    spoil(folder, "eval.record", 2)
    pipeline = Pipeline.load(str(folder / "pipeline.config"))
    found = quick(pipeline)
    assert {finding.kind for finding in found} == {Kind.BOX_INVERTED}
    assert {finding.severity for finding in found} == {Severity.WARNING}


def test_quick_looks_into_the_first_records_only(folder):
    spoil(folder, "train.record", 60)
    pipeline = Pipeline.load(str(folder / "pipeline.config"))
    assert quick(pipeline) == []
    path = folder / "train.record"
    path.write_bytes(path.read_bytes()[:-10])
    [finding] = quick(pipeline)
    assert finding.kind is Kind.FILE_TRUNCATED
    assert "record 60" in finding.where
    path.write_text("no records at all")
    [finding] = quick(pipeline)
    assert finding.kind is Kind.FILE_UNREADABLE
    path.write_bytes(b"")
    assert {finding.kind for finding in quick(pipeline)} == {Kind.FILE_EMPTY, Kind.RECORDS_EMPTY}
    path.unlink()
    path.mkdir()
    [finding] = quick(pipeline)
    assert finding.kind is Kind.FILE_UNREADABLE


def test_the_command_lists_and_counts(folder, capsys):
    spoil(folder, "train.record", 4)
    report = folder / "findings.json"
    config = f"--config={folder / 'pipeline.config'}"
    assert cli.main(["doctor", config, "--json", str(report)]) == 1
    text = capsys.readouterr().out
    assert "error: box ends before it begins: box 1 of 2: xmin 0.9, xmax 0.1, and 1 more" in text
    assert "[box_inverted]\n  at: " in text
    assert "hint: swap the two, or drop the box" in text
    assert ": files 2, records 6, boxes 12, images 6, masks 0" in text
    assert "errors: 1, warnings: 0" in text
    written = json.loads(report.read_text())
    assert written["checked"] == {"files": 2, "records": 6, "boxes": 12, "images": 6, "masks": 0}
    [finding] = written["findings"]
    assert (finding["kind"], finding["record"]) == ("box_inverted", 4)
    assert finding["severity"] == "error"


def test_the_command_says_a_common_fault_once(folder, capsys):
    records = [masked_features(scene) for scene in clean_scenes(30)]
    for record in records:
        record["image/source_id"] = [b""]
    path = write_records(folder / "many.record", records)
    report = folder / "findings.json"
    assert cli.main(["doctor", str(path), "--masks", "--json", str(report)]) == 0
    text = capsys.readouterr().out
    assert "warning: record without image/source_id: 30 times [source_id_missing]" in text
    assert text.count("  at: ") == 3
    assert "      and 27 more\n" in text
    assert "errors: 0, warnings: 30" in text
    assert len(json.loads(report.read_text())["findings"]) == 30


def test_the_command_is_content_with_clean_records(folder, capsys):
    arguments = [str(folder / "*.record"), "--label_map", str(folder / "label_map.pbtxt")]
    assert cli.main(["doctor", *arguments, "--masks"]) == 0
    assert "boxes 12, images 6, masks 12" in (text := capsys.readouterr().out)
    assert text.endswith("nothing is wrong\n")


def test_a_misspelt_field_of_the_config_is_answered_with_the_valid_one(folder, capsys):
    path = folder / "pipeline.config"
    path.write_text(path.read_text().replace("num_classes", "num_clases"))
    assert cli.main(["doctor", "--config", str(path)]) == 1
    text = capsys.readouterr().out
    assert "[config_unreadable]" in text
    assert "hint: nearest valid names: num_classes" in text
    path.write_text(ssd.config(folder).replace("RELU_6", "RELU6"))
    assert cli.main(["doctor", "--config", str(path)]) == 1
    assert "nearest valid names: RELU_6" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give a config or record files"),
        (["a.record", "--config=a.config"], "give a config or record files"),
        (["--config=a.config", "--masks"], "--masks goes with RECORD only"),
        (["a.record", "--model_dir=m"], "--model_dir goes with --config only"),
        (["--config=/nowhere/a.config"], "the pipeline config does not exist"),
    ],
)
def test_wrong_usage(arguments, words, capsys):
    assert cli.main(["doctor", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_the_page_lists_every_kind_and_no_other():
    import re

    page = (Path(__file__).parents[3] / "docs" / "doctor.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| (\w+) \|", page, flags=re.MULTILINE))
    assert rows == {kind.slug: str(kind.severity) for kind in Kind}
