"""Reads a pipeline config and checks what can be wrong with it before a model is built.

The rules are those of `object_detection.utils.config_util` and `builders.model_builder`; what is
new is that every complaint names the field and comes before the first step.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from odapi.errors import UserError

LABEL_MAP_NAME = "label_map.pbtxt"
"""The label map's name in an exported model's folder."""


def require_file(path: str, flag: str) -> None:
    """Raises UserError unless `path`, given as `flag`, is a file."""
    if not Path(path).is_file():
        what = "is a folder" if Path(path).is_dir() else "does not exist"
        raise UserError(f"the pipeline config {what}: {path}", at=flag, hint=_similar_file(path))


def _similar_file(path: str) -> str | None:
    folder = Path(path).parent
    if Path(path).is_dir():
        folder = Path(path)
    elif not folder.is_dir():
        return f"{folder} does not exist either; it is relative to {Path.cwd()}"
    names = [entry.name for entry in folder.glob("*.config")]
    close = difflib.get_close_matches(Path(path).name, names, n=1, cutoff=0.0)
    return f"did you mean {folder / close[0]}?" if close else None


def load(path: str, override: str = "") -> Any:
    """Reads a pipeline config.

    Args:
        path: a text proto, `pipeline_pb2.TrainEvalPipelineConfig`.
        override: another one, merged over it.

    Returns:
        The `TrainEvalPipelineConfig`.

    Raises:
        UserError: the file is missing, is not a pipeline config, or has no model.
    """
    from google.protobuf import text_format
    from object_detection.protos import pipeline_pb2

    require_file(path, "--pipeline_config_path")
    config = pipeline_pb2.TrainEvalPipelineConfig()
    for text, source in (
        (Path(path).read_text(encoding="utf-8", errors="replace"), path),
        (override, "--config_override"),
    ):
        try:
            text_format.Merge(text, config)
        except text_format.ParseError as error:
            raise UserError(
                f"this is not a pipeline config: {error}",
                at=source,
                hint=_similar_name(str(error))
                or "the fields are listed in object_detection/protos/pipeline.proto",
            ) from None
    if config.model.WhichOneof("model") is None:
        raise UserError(
            "the config describes no model", at=f"{path}: model", hint="add faster_rcnn or ssd"
        )
    return config


def _similar_name(error: str) -> str | None:
    """The valid names nearest to the unknown field or value that a ParseError speaks of."""
    from google.protobuf import descriptor_pool

    pool = descriptor_pool.Default()
    field = re.search(r'type "([\w.]+)" has no field named "(\w+)"', error)
    value = re.search(r'type "([\w.]+)" has no value named (\w+)', error)
    if field:
        valid = [field.name for field in pool.FindMessageTypeByName(field[1]).fields]
    elif value:
        valid = [value.name for value in pool.FindEnumTypeByName(value[1]).values]
    else:
        return None
    nearest = difflib.get_close_matches((field or value)[2], valid, n=3, cutoff=0.5)
    return "nearest valid names: " + ", ".join(nearest or valid)


def architecture(config: Any) -> Any:
    """The message inside `model`: FasterRcnn, Ssd, CenterNet."""
    return getattr(config.model, config.model.WhichOneof("model"))


def num_classes(config: Any) -> int:
    """Number of classes without the background."""
    return architecture(config).num_classes


def check_feature_extractor(config: Any) -> str:
    """Checks that the model's backbone is one this tree can build.

    Returns:
        Its `type`.

    Raises:
        UserError: it is unknown; the message names the nearest valid ones.
    """
    from object_detection.builders import model_builder
    from object_detection.models.keras_models import classifier_backbone

    kind = config.model.WhichOneof("model")
    known = {
        "faster_rcnn": model_builder.FASTER_RCNN_KERAS_FEATURE_EXTRACTOR_CLASS_MAP,
        "ssd": model_builder.SSD_KERAS_FEATURE_EXTRACTOR_CLASS_MAP,
        "center_net": model_builder.CENTER_NET_EXTRACTOR_FUNCTION_MAP,
    }.get(kind)
    if known is None:
        return kind
    extractor = architecture(config).feature_extractor.type
    field = f"config: model.{kind}.feature_extractor.type"
    prefix = classifier_backbone.TYPE_PREFIX
    if extractor.startswith(prefix) and kind in ("faster_rcnn", "ssd"):
        _check_classifier(config, extractor.removeprefix(prefix), field)
        return extractor
    if extractor not in known:
        nearest = difflib.get_close_matches(extractor, known, n=3, cutoff=0.3) or sorted(known)
        raise UserError(
            f"unknown feature extractor type {extractor!r} for {kind}",
            at=field,
            hint="nearest valid values: " + ", ".join(nearest),
        )
    return extractor


class BackboneRefused(UserError):
    """A description of a backbone names what is not on the list of what may be read."""


def _check_classifier(config: Any, source: str, field: str) -> None:
    from object_detection.models.keras_models.classifier_backbone import FILE_NAME, Classifier
    from object_detection.models.keras_models.keras_config import Refusal

    def read(place: str, where: str) -> Any:
        try:
            return Classifier.read(place)
        except Refusal as refusal:
            raise BackboneRefused(
                refusal.reason,
                at=f"{where}, layer {refusal.layer!r}" if refusal.layer else where,
                hint="a backbone comes from odapi convert; do not use a folder from elsewhere "
                "that you cannot convert again yourself",
            ) from None
        except ValueError as error:
            raise UserError(
                str(error),
                at=where,
                hint="name the folder that odapi convert wrote, or a network of keras.applications",
            ) from None

    images = read(source, field).preprocessing
    checkpoint = Path(config.train_config.fine_tune_checkpoint).parent
    if not (checkpoint / FILE_NAME).is_file() or checkpoint == Path(source):
        return
    # The weights of one classifier and the preprocessing of another train, to a poor detector.
    other = read(str(checkpoint), "config: train_config.fine_tune_checkpoint").preprocessing
    if other != images:
        raise UserError(
            f"the checkpoint's classifier preprocesses images by {other.mode} ({other.channels}), "
            f"and the feature extractor's by {images.mode} ({images.channels})",
            at=f"{field}; train_config.fine_tune_checkpoint",
            hint=f"set type: 'keras:{checkpoint}'",
        )


def record_files(reader: Any, field: str) -> list[str]:
    """The TFRecord files of an input reader, its glob patterns expanded.

    Args:
        reader: an `input_reader_pb2.InputReader`.
        field: where it stands in the config, for messages.

    Returns:
        Paths, sorted within each pattern.

    Raises:
        UserError: there is no TFRecord reader, or a pattern matches no file.
    """
    field += ".tf_record_input_reader.input_path"
    patterns = list(reader.tf_record_input_reader.input_path)
    if not patterns:
        raise UserError("no record files are given", at=f"config: {field}", hint=f"set {field}")
    return [file for pattern in patterns for file in matching_files(pattern, f"config: {field}")]


def matching_files(pattern: str, field: str) -> list[str]:
    """The files that a glob pattern matches, sorted.

    Args:
        pattern: a path, in which *, ? and [...] stand for more than themselves.
        field: where it comes from, for messages.

    Raises:
        UserError: there is none.
    """
    import tensorflow as tf

    try:
        found = sorted(tf.io.gfile.glob(pattern))
    except UnicodeDecodeError:
        raise UserError(
            "the name of a file is no Unicode text, which TensorFlow needs",
            at=f"{field}: {pattern}",
            hint="rename the files that are not in UTF-8",
        ) from None
    if not found:
        raise UserError(
            f"no record file matches {pattern}",
            at=field,
            hint=f"paths are relative to the working directory, {Path.cwd()}",
        )
    return found


def read_label_map(path: str, field: str) -> Any:
    """Reads a label map, whatever is in it.

    Args:
        path: a `StringIntLabelMap`, as text or serialized.
        field: where the path comes from, for messages.

    Returns:
        The `StringIntLabelMap`.

    Raises:
        UserError: it is missing, or is no label map.
    """
    from google.protobuf import message, text_format
    from object_detection.protos import string_int_label_map_pb2

    if not path:
        raise UserError("no label map is given", at=field, hint=f"set {field.split(': ')[-1]}")
    if not Path(path).is_file():
        raise UserError(
            f"the label map does not exist: {path}",
            at=field,
            hint=f"paths are relative to the working directory, {Path.cwd()}",
        )
    label_map = string_int_label_map_pb2.StringIntLabelMap()
    data = Path(path).read_bytes()
    try:
        text_format.Merge(data.decode("utf-8", errors="replace"), label_map)
    except text_format.ParseError as error:
        label_map.Clear()
        try:
            label_map.ParseFromString(data)
        except message.DecodeError:
            raise UserError(
                f"this is not a label map: {error}",
                at=path,
                hint="one entry is: item { id: 1 name: 'cat' }",
            ) from None
    return label_map


def load_label_map(path: str, field: str) -> dict[int, str]:
    """Reads the classes of a label map.

    Args:
        path: a `StringIntLabelMap`, as text or serialized.
        field: where the path comes from, for messages.

    Returns:
        Class id to name; `display_name` where there is one, as upstream shows it.

    Raises:
        UserError: it is missing, is no label map, is empty, or has an id below 1 or twice.
    """
    label_map = read_label_map(path, field)
    names: dict[int, str] = {}
    for item in label_map.item:
        if item.id == 0 and "background" in (item.name, item.display_name):
            continue
        if item.id < 1 or item.id in names:
            problem = "is used twice" if item.id in names else "is below 1"
            raise UserError(
                f"label map id {item.id} {problem}",
                at=f"{path}: item {item.name!r}",
                hint="number the classes 1, 2, 3, ...; 0 is the background",
            )
        names[item.id] = item.display_name or item.name
    if not names:
        raise UserError("the label map names no class", at=path)
    return names


def label_map_path(config: Any) -> str:
    """The label map a config names, the first eval reader's before the train reader's, or ''."""
    readers = [*config.eval_input_reader, config.train_input_reader]
    return next((reader.label_map_path for reader in readers if reader.label_map_path), "")


def check_label_map(config: Any, reader: Any, field: str) -> dict[int, str]:
    """Reads the label map of an input reader and compares it with the model.

    Returns:
        Class id to name.

    Raises:
        UserError: as `load_label_map`; or an id does not fit the model's num_classes.
    """
    names = load_label_map(reader.label_map_path, f"config: {field}.label_map_path")
    classes = num_classes(config)
    if max(names) > classes:
        raise UserError(
            f"the label map has id {max(names)} ({names[max(names)]}), "
            f"but the model has {classes} classes",
            at=f"config: model.{config.model.WhichOneof('model')}.num_classes; "
            f"{reader.label_map_path}",
            hint=f"set num_classes: {max(names)}",
        )
    return names


@dataclass(frozen=True)
class EvalRecords:
    """What a detector is evaluated on.

    Attributes:
        reader: the config's first eval_input_reader.
        files: its record files.
        names: class id to name, of its label map.
    """

    reader: Any
    files: list[str]
    names: dict[int, str]


def eval_records(config: Any, path: str) -> EvalRecords:
    """Those of the config that was read from `path`.

    Raises:
        UserError: there is no eval_input_reader, or its files or label map cannot be used.
    """
    if not config.eval_input_reader:
        raise UserError("there is no eval_input_reader", at=path)
    reader, field = config.eval_input_reader[0], "eval_input_reader[0]"
    names = check_label_map(config, reader, field)
    return EvalRecords(reader, record_files(reader, field), names)


def find_checkpoint(path: str, flag: str) -> str:
    """The checkpoint that a folder or a prefix stands for.

    Args:
        path: a folder with a `checkpoint` state file (its latest is taken), or `DIR/ckpt-7`.
        flag: where `path` comes from, for messages.

    Returns:
        The checkpoint's prefix.

    Raises:
        UserError: there is no checkpoint.
    """
    import tensorflow as tf

    if Path(f"{path}.index").is_file():
        return path
    latest = tf.train.latest_checkpoint(path) if Path(path).is_dir() else None
    if latest is not None:
        return latest
    if not Path(path).is_dir():
        raise UserError(f"there is no checkpoint {path}", at=flag, hint=_nearby_checkpoint(path))
    raise UserError(
        f"the folder holds no checkpoint: {path}",
        at=flag,
        hint=_nearby_checkpoint(path) or "give the --model_dir of a training run",
    )


def checkpoint_step(checkpoint: str) -> int:
    """The global step a training checkpoint was written at; 0 where it holds none.

    Args:
        checkpoint: its prefix.
    """
    import tensorflow as tf

    reader = tf.train.load_checkpoint(checkpoint)
    name = "step/.ATTRIBUTES/VARIABLE_VALUE"
    return int(reader.get_tensor(name)) if reader.has_tensor(name) else 0


def _nearby_checkpoint(path: str) -> str | None:
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    prefixes: Sequence[Path] = sorted(
        folder.glob("*.index"), key=lambda index: index.stat().st_mtime, reverse=True
    )
    return f"there is {prefixes[0].with_suffix('')}" if prefixes else None
