"""Checks the checkpoint that training starts from, and what model_dir holds already."""

from __future__ import annotations

import glob
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from odapi.console.errors import UserError
from odapi.doctor.findings import Finding, Kind
from odapi.pipeline.checkpoint import STEP, find_checkpoint, nearby

FIELD = "config: train_config.fine_tune_checkpoint"
TYPES = ("classification", "detection", "full")
"""What `restore_from_objects` of Faster R-CNN, SSD and CenterNet takes."""

ROOTS = {"classification": "feature_extractor/", "detection": "model/", "full": "model/"}
"""fine_tune_checkpoint_type to the first part of the names it looks for in the checkpoint."""


def examine(train_config: Any, model_dir: str | None) -> Iterator[Finding]:
    """Checks fine_tune_checkpoint, unless model_dir holds a checkpoint that wins over it.

    Args:
        train_config: a `train_pb2.TrainConfig`.
        model_dir: where training will write; None: not known.
    """
    resumed = yield from _check_model_dir(train_config, model_dir)
    path = train_config.fine_tune_checkpoint
    if resumed or not path:
        return
    missing = _check_exists(path)
    if missing:
        yield missing
        return
    if model_dir and Path(path).parent.resolve() == Path(model_dir).resolve():
        yield Finding(
            Kind.CHECKPOINT_IN_MODEL_DIR,
            "fine_tune_checkpoint lies in model_dir, where training would overwrite it",
            field=f"{FIELD}; --model_dir {model_dir}",
        )
    torn = _check_complete(path, FIELD)
    if torn:
        yield torn
        return
    yield from _check_restorable(train_config, path)


def _check_model_dir(train_config: Any, model_dir: str | None) -> Iterator[Finding]:
    """Returns, after its findings, whether training resumes from a checkpoint there."""
    import tensorflow as tf

    if model_dir and Path(model_dir, "checkpoint").is_dir():
        # Training would end at its first checkpoint: the file that names the last one goes there.
        message = "model_dir is a model of the zoo, or an export: it has a folder named checkpoint"
        yield Finding(Kind.MODEL_DIR_FOREIGN, message, field=f"--model_dir {model_dir}")
        return False
    state = tf.train.get_checkpoint_state(model_dir) if model_dir else None
    if state is None or not state.model_checkpoint_path:
        return False
    latest = state.model_checkpoint_path
    if not Path(f"{latest}.index").is_file():
        message = f"model_dir's latest checkpoint is gone: {latest}"
        yield Finding(Kind.MODEL_DIR_LOST, message, field=f"--model_dir {model_dir}")
        return False
    torn = _check_complete(latest, f"--model_dir {model_dir}")
    if torn:
        yield torn
    else:
        yield from _check_resumable(latest, model_dir)
    if train_config.fine_tune_checkpoint:
        yield Finding(
            Kind.MODEL_DIR_RESUMES,
            "fine_tune_checkpoint is not used: the checkpoint in model_dir wins",
            file=latest,
        )
    return True


def _check_resumable(latest: str, model_dir: str | None) -> Iterator[Finding]:
    """Training resumes from any checkpoint in model_dir; only its own are compared by value."""
    names = _variable_names(latest)
    if not any(name.startswith(ROOTS["full"]) for name in names):
        message = f"model_dir holds {latest}, from which training would resume with nothing in it"
    elif STEP not in names:
        message = f"model_dir holds {latest}, of the zoo or an export: it has no step to resume at"
    else:
        return
    yield Finding(Kind.MODEL_DIR_FOREIGN, message, field=f"--model_dir {model_dir}")


def _check_exists(path: str) -> Finding | None:
    if Path(f"{path}.index").is_file():
        return None
    file = Path(path)
    prefix = re.sub(r"\.(index|meta|data-\d{5}-of-\d{5})$", "", path)
    hint = f"paths are relative to the working directory, {Path.cwd()}"
    if file.is_dir():
        # Raises nothing but UserError, which says where a checkpoint is.
        return _checkpoint_in(path)
    if prefix != path and Path(f"{prefix}.index").is_file():
        hint = f"give the prefix of its files: {prefix}"
    elif file.is_file():
        message = f"this is not a TF2 checkpoint: {path}"
        return Finding(Kind.CHECKPOINT_NOT_TF2, message, field=FIELD, hint=nearby(path))
    elif path.startswith("PATH_TO"):
        hint = (
            "a model of the zoo has one, checkpoint/ckpt-0, and odapi convert writes one; "
            "or clear the field to start from random"
        )
    else:
        hint = nearby(path) or hint
    return Finding(
        Kind.CHECKPOINT_MISSING, f"there is no checkpoint {path}", field=FIELD, hint=hint
    )


def _checkpoint_in(folder: str) -> Finding:
    try:
        hint = f"give the checkpoint in it: {find_checkpoint(folder, FIELD)}"
    except UserError as error:
        return Finding.of(Kind.CHECKPOINT_MISSING, error)
    message = f"there is no checkpoint {folder}: it is a folder"
    return Finding(Kind.CHECKPOINT_MISSING, message, field=FIELD, hint=hint)


def _check_complete(prefix: str, field: str) -> Finding | None:
    """Whether the index can be read and the data it speaks of can be there."""
    import tensorflow as tf

    digits = "[0-9]" * 5
    name = f"{glob.escape(Path(prefix).name)}.data-{digits}-of-{digits}"
    shards = sorted(Path(prefix).parent.glob(name))
    expected = int(shards[0].name[-5:]) if shards else 1
    if len(shards) < expected:
        message = f"{len(shards)} of {expected} data files are there beside the index"
        return Finding(Kind.CHECKPOINT_TORN, message, file=prefix, field=field)
    try:
        reader = tf.train.load_checkpoint(prefix)
        dtypes = reader.get_variable_to_dtype_map()
        expected_size = sum(
            math.prod(shape) * dtypes[variable].size
            for variable, shape in reader.get_variable_to_shape_map().items()
            if dtypes[variable] != tf.string
        )
    # The reader raises different ones for a damaged index, ValueError and RuntimeError among them.
    except (tf.errors.OpError, RuntimeError, ValueError) as error:
        message = f"the index cannot be read: {str(error).splitlines()[0]}"
        return Finding(Kind.CHECKPOINT_TORN, message, file=prefix, field=field)
    size = sum(shard.stat().st_size for shard in shards)
    if size < expected_size:
        message = f"its variables have {expected_size:,} bytes, and its data files {size:,}"
        return Finding(Kind.CHECKPOINT_TORN, message, file=prefix, field=field)
    return None


def _variable_names(prefix: str) -> list[str]:
    """The names of a checkpoint's variables."""
    import tensorflow as tf

    return list(tf.train.load_checkpoint(prefix).get_variable_to_shape_map())


def _check_restorable(train_config: Any, path: str) -> Iterator[Finding]:
    from object_detection.protos import train_pb2
    from object_detection.utils import config_util

    names = _variable_names(path)
    if "_CHECKPOINTABLE_OBJECT_GRAPH" not in names:
        message = "the checkpoint was written in TF1 behaviour, by names: TF2 cannot restore it"
        yield Finding(Kind.CHECKPOINT_NOT_TF2, message, file=path, field=FIELD)
        return
    if train_config.fine_tune_checkpoint_version != train_pb2.V2:
        message = "fine_tune_checkpoint_version is not V2, which is all that TF2 restores"
        field = "config: train_config.fine_tune_checkpoint_version"
        yield Finding(Kind.CHECKPOINT_VERSION, message, field=field)
    upstream = train_pb2.TrainConfig()
    upstream.CopyFrom(train_config)
    config_util.update_fine_tune_checkpoint_type(upstream)
    checkpoint_type = upstream.fine_tune_checkpoint_type
    field = "config: train_config.fine_tune_checkpoint_type"
    roots = sorted({name.split("/")[0] for name in names if "/" in name})
    fitting = [other for other in TYPES if ROOTS[other].rstrip("/") in roots]
    if checkpoint_type not in TYPES:
        message = f"fine_tune_checkpoint_type {checkpoint_type!r} is none of {', '.join(TYPES)}"
    elif checkpoint_type not in fitting:
        message = (
            f"fine_tune_checkpoint_type {checkpoint_type!r} looks for {ROOTS[checkpoint_type]}, "
            f"and the checkpoint holds {', '.join(roots)}"
        )
    else:
        return
    hint = f"set fine_tune_checkpoint_type: '{fitting[0]}'" if fitting else None
    yield Finding(Kind.CHECKPOINT_TYPE, message, file=path, field=field, hint=hint)
