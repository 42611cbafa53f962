"""What ends a run early, in words for the user."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tensorflow as tf
from object_detection.training.trainable_variables import TrainableVariablesError
from object_detection.utils import restored_values
from object_detection.utils.mixed_precision import UnsupportedError
from object_detection.utils.nonfinite_steps import NonfiniteStepError

from odapi.console.errors import UserError, op_reason
from odapi.train.monitor import Monitor
from odapi.train.plan import Plan


@contextmanager
def explained(plan: Plan, monitor: Monitor) -> Iterator[None]:
    """Turns the trainer's errors that the user can mend into `UserError`."""
    try:
        yield
    except NonfiniteStepError as error:
        raise _nonfinite(error, plan) from None
    except TrainableVariablesError as error:
        raise UserError(str(error), at="config: train_config", hint=_nearest_names(error)) from None
    except UnsupportedError as error:
        raise UserError(
            str(error),
            at=f"{plan.pipeline.path}: {plan.pipeline.extractor}",
            hint="leave --mixed_precision out, or change what stands in its way",
        ) from None
    except (restored_values.RestoreError, restored_values.FormatError) as error:
        raise _misfit(error, plan) from None
    except (
        tf.errors.InvalidArgumentError,
        tf.errors.DataLossError,
        tf.errors.OutOfRangeError,
    ) as error:
        # Of reading and computing TensorFlow makes one step: the operation's name tells which.
        if monitor.seen and "IteratorGetNext" not in error.message:
            raise
        raise _unread(monitor, op_reason(error).splitlines()[0], plan) from error
    except UnicodeDecodeError as error:
        # TensorFlow's message quotes the record, and is then no text.
        raise _unread(monitor, "a record is not a tf.train.Example", plan) from error


def _unread(monitor: Monitor, reason: str, plan: Plan) -> UserError:
    """What to tell of a batch that the input could not make."""
    return UserError(
        f"batch {monitor.seen + 1} cannot be read: {reason}",
        at=", ".join(plan.pipeline.train_files),
        hint=f"odapi doctor --config {plan.pipeline.path} looks into every record",
    )


def _nonfinite(error: NonfiniteStepError, plan: Plan) -> UserError:
    record = error.record
    if not record["images"]:
        return UserError(
            f"a loss or gradient became infinite or not a number at step {record['step']}, "
            "in the batch of another worker",
            at=str(Path(error.folder).parent),
            hint="that worker names it",
            exit_code=1,
        )
    files = plan.pipeline.train_files
    what = " and ".join(record["nonfinite"])
    images = ", ".join(str(image) for image in record["images"])
    return UserError(
        f"{what} became infinite or not a number at step {record['step']}",
        at=f"{files[0]}{' and others' if len(files) > 1 else ''}: images {images}; "
        f"the batch, and the variables before that step, are in {error.folder}",
        hint="lower the learning rate, or set gradient_clipping_by_norm: 10; look for boxes "
        "without area in the records; --on_nonfinite skip leaves such batches out",
        exit_code=1,
    )


def _nearest_names(error: TrainableVariablesError) -> str:
    """What to write instead of the pattern at fault."""
    layers = {name.rpartition("/")[0]: None for name in error.names}
    nearest = difflib.get_close_matches(error.pattern or "", layers, n=3, cutoff=0.4)
    rule = "patterns are regular expressions, searched for anywhere in a variable's name"
    return f"{rule}; nearest: {', '.join(nearest)}" if nearest else rule


def _misfit(error: Any, plan: Plan) -> UserError:
    """What to tell of a checkpoint that is not one of this model."""
    train_config = plan.pipeline.config.train_config
    if plan.resume_from:
        hint = "the config has changed since; take another --model_dir"
    else:
        kind = "detection" if train_config.from_detection_checkpoint else "classification"
        hint = _PARTS[train_config.fine_tune_checkpoint_type or kind]
        folder = Path(train_config.fine_tune_checkpoint).parent
        if folder.name == "checkpoint" and (folder.parent / "pipeline.config").is_file():
            hint += f"; that of the checkpoint is {folder.parent / 'pipeline.config'}"
    return UserError(
        f"the checkpoint does not fit the model: {_what_differs(error)}",
        at=plan.resume_from or train_config.fine_tune_checkpoint,
        hint=hint,
    )


_PARTS = {
    "classification": "fine_tune_checkpoint_type 'classification' takes the backbone of "
    "odapi convert: the config has to name the same one",
    "detection": "fine_tune_checkpoint_type 'detection' takes the feature extractor of a detector: "
    "feature_extractor has to be the same in the config",
    "full": "fine_tune_checkpoint_type 'full' takes the heads as well: num_classes and all else of "
    "the model have to be the same; 'detection' takes the feature extractor alone",
}
"""What has to be the same in the config as in that of the checkpoint."""


def _what_differs(error: Exception) -> str:
    """Its first line; of variables that the file lacks, their number and a name."""
    text = str(error).strip()
    number = re.match(r"Found (\d+) Python objects that were not bound", text)
    name = re.search(r"<tf\.Variable '([^']+)'", text)
    if isinstance(error, restored_values.UnmatchedError) and number and name:
        return f"variables not in the checkpoint: {number[1]}, such as {name[1]}"
    return text.splitlines()[0]
