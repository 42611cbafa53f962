"""`odapi train`: upstream's train loop with checks before it and progress from the first step."""

from __future__ import annotations

import argparse
import difflib
import json
import math
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from odapi import config as configs
from odapi import termination
from odapi.arguments import add_config, positive, require_folder
from odapi.doctor.config import quick
from odapi.doctor.findings import Refused, Severity, Summary
from odapi.errors import UserError
from odapi.evaluation.result import MASK_METRICS, METRICS
from odapi.files import drop_steps_after
from odapi.progress import Progress, duration

LOG_NAME = "train_log.jsonl"
NONFINITE_NAME = "nonfinite"
TOTAL_LOSS = "Loss/total_loss"
LEARNING_RATE = "learning_rate"
STEPS_BETWEEN_SUMMARIES = 100
"""As often as `model_main_tf2.py` writes them; train_log.jsonl has every step."""


@dataclass(frozen=True)
class TrainingResult:
    """What a training run left behind.

    Attributes:
        step: the global step reached.
        checkpoint: prefix of the checkpoint of that step.
        log: the run's `train_log.jsonl`: one object per step with step, losses, learning_rate and
            seconds.
        seconds: wall time of the run, from the call of `train`.
    """

    step: int
    checkpoint: str
    log: Path
    seconds: float


@dataclass(frozen=True)
class _Plan:
    """A run whose config, records, label map and checkpoints have been looked at.

    Attributes:
        override: a text proto for the train loop to merge over the config.
        eval_records: what it is evaluated on, or None.
        first_step: the step of the checkpoint that training resumes from, or 0.
        last_step: the step at which training ends.
        resume_from: that checkpoint's prefix, or None.
    """

    config: Any
    override: str
    files: list[str]
    records: int
    eval_records: configs.EvalRecords | None
    extractor: str
    first_step: int
    last_step: int
    resume_from: str | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `model_main_tf2.py` that concern training, under their names."""
    add_config(parser)
    parser.add_argument(
        "--model_dir",
        required=True,
        metavar="DIR",
        help="where checkpoints, train_log.jsonl and TensorBoard events go; a folder that holds "
        "a checkpoint is resumed from",
    )
    parser.add_argument(
        "--num_train_steps",
        type=positive,
        metavar="N",
        help="the step to end at; default: train_config.num_steps",
    )
    parser.add_argument(
        "--checkpoint_every_n",
        type=positive,
        default=1000,
        metavar="N",
        help="steps between checkpoints (default 1000); the last step always gets one",
    )
    parser.add_argument(
        "--checkpoint_max_to_keep",
        type=positive,
        default=7,
        metavar="N",
        help="number of most recent checkpoints to keep (default 7)",
    )
    parser.add_argument(
        "--record_summaries",
        type=_boolean,
        nargs="?",
        const=True,
        default=True,
        metavar="BOOL",
        help="write training images to TensorBoard beside the losses, every "
        f"{STEPS_BETWEEN_SUMMARIES} steps (default true)",
    )
    parser.add_argument(
        "--eval_every_n",
        type=positive,
        metavar="N",
        help="evaluate on the eval_input_reader's records at a checkpoint every N steps, and keep "
        "the best checkpoint in model_dir/best",
    )
    parser.add_argument(
        "--best_metric",
        type=_metric,
        metavar="NAME",
        help="with --eval_every_n: what makes a checkpoint the best "
        f"(default {METRICS[0]}); names are those of the table that odapi evaluate prints",
    )
    parser.add_argument(
        "--early_stopping_patience",
        type=positive,
        metavar="N",
        help="with --eval_every_n: end after N evaluations without a new best",
    )
    parser.add_argument(
        "--on_nonfinite",
        choices=("stop", "skip"),
        default="stop",
        help="at a loss or gradient that is infinite or not a number: stop, and keep the batch and "
        "the variables in model_dir/nonfinite (default); or leave the batch out, count it, go on",
    )


def check_paths(args: argparse.Namespace) -> None:
    """Raises UserError where a path is wrong at first sight."""
    configs.require_file(args.pipeline_config_path, "--pipeline_config_path")
    require_folder(Path(args.model_dir), "--model_dir")
    for name in ("early_stopping_patience", "best_metric"):
        if getattr(args, name) and not args.eval_every_n:
            raise UserError(
                f"--{name} is about evaluations, and there are none",
                at="--eval_every_n",
                hint="give it as well: the number of steps between evaluations",
            )


def run(args: argparse.Namespace) -> int:
    """The command."""
    train(
        args.pipeline_config_path,
        args.model_dir,
        num_train_steps=args.num_train_steps,
        checkpoint_every_n=args.checkpoint_every_n,
        checkpoint_max_to_keep=args.checkpoint_max_to_keep,
        record_summaries=args.record_summaries,
        eval_every_n=args.eval_every_n,
        best_metric=args.best_metric or METRICS[0],
        early_stopping_patience=args.early_stopping_patience,
        on_nonfinite=args.on_nonfinite,
        config_override=args.config_override,
    )
    return 0


def train(
    pipeline_config_path: str,
    model_dir: str,
    *,
    num_train_steps: int | None = None,
    checkpoint_every_n: int = 1000,
    checkpoint_max_to_keep: int = 7,
    record_summaries: bool = True,
    eval_every_n: int | None = None,
    best_metric: str = METRICS[0],
    early_stopping_patience: int | None = None,
    on_nonfinite: str = "stop",
    config_override: str = "",
) -> TrainingResult:
    """Trains the model of a pipeline config and prints progress.

    Args:
        pipeline_config_path: the config.
        model_dir: made if it is missing; resumed from if it holds a checkpoint, in which case
            `fine_tune_checkpoint` is not read.
        num_train_steps: global step to end at, not a number of further steps; default: the
            config's num_steps.
        checkpoint_every_n: steps between checkpoints.
        checkpoint_max_to_keep: how many to keep.
        record_summaries: write training images to TensorBoard beside the losses.
        eval_every_n: steps between evaluations, which checkpoints are written for; None: none.
        best_metric: one of METRICS and MASK_METRICS.
        early_stopping_patience: evaluations without a new best after which training ends.
        on_nonfinite: "stop" or "skip": what a loss or gradient that is not finite does. The
            variables stay as they were before such a step either way.
        config_override: a text proto, merged over the config.

    Raises:
        UserError: something in the config or the records is wrong; nothing was trained. Or, with
            exit code 1, a loss or gradient became infinite or not a number; the checkpoints
            written before that are kept.
        termination.Terminated: SIGTERM arrived; the step under way is in a checkpoint.
        KeyboardInterrupt: the same of SIGINT.
    """
    started = time.monotonic()
    plan = _plan(
        pipeline_config_path,
        model_dir,
        num_train_steps,
        best_metric if eval_every_n else None,
        config_override,
    )
    batch = plan.config.train_config.batch_size
    print(
        f"{plan.extractor}: steps {plan.first_step + 1} to {plan.last_step}, "
        f"{batch} {'image' if batch == 1 else 'images'} each, "
        f"{plan.records} {'record' if plan.records == 1 else 'records'}; building the model"
    )
    if plan.resume_from:
        print(f"resuming from step {plan.first_step}: {plan.resume_from}")
    folder = Path(model_dir)
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / LOG_NAME
    drop_steps_after(log, plan.first_step)
    drop_steps_after(folder / NONFINITE_NAME / "steps.jsonl", plan.first_step)
    validation = None
    if eval_every_n:
        # Loads pycocotools and matplotlib with it.
        from odapi.validation import Validation

        validation = Validation(
            plan.config,
            plan.eval_records,
            folder,
            every_n=eval_every_n,
            metric=best_metric,
            patience=early_stopping_patience,
            first_step=plan.first_step,
            last_step=plan.last_step,
        )
        checkpoint_every_n = min(checkpoint_every_n, eval_every_n)
    stopped_by = None
    ends = False
    if validation and plan.resume_from:
        # The last run may have been interrupted in an evaluation, or have been without.
        ends = validation.checkpoint(plan.first_step, plan.resume_from)
    if plan.first_step >= plan.last_step:
        print(f"nothing to do: step {plan.first_step} of {plan.last_step} is reached already")
    elif not ends:
        stopped_by = _run_loop(
            plan,
            pipeline_config_path,
            model_dir,
            log,
            validation,
            checkpoint_every_n=checkpoint_every_n,
            checkpoint_max_to_keep=checkpoint_max_to_keep,
            record_summaries=record_summaries,
            on_nonfinite=on_nonfinite,
        )
    checkpoint = configs.find_checkpoint(model_dir, "--model_dir")
    result = TrainingResult(
        configs.checkpoint_step(checkpoint), checkpoint, log, time.monotonic() - started
    )
    print(f"checkpoint of step {result.step}: {checkpoint}")
    print(f"losses of every step: {log}")
    if validation and validation.best:
        value, step = validation.best
        print(f"best checkpoint: {validation.folder}, step {step}, {best_metric} {value:.3f}")
    if stopped_by:
        termination.raise_for(stopped_by)
    return result


def _plan(
    path: str, model_dir: str, num_train_steps: int | None, metric: str | None, override: str
) -> _Plan:
    import tensorflow as tf

    config = configs.load(path, override)
    _examine(config, model_dir, evaluates=metric is not None)
    extractor = configs.check_feature_extractor(config)
    train_config = config.train_config
    files = configs.record_files(config.train_input_reader, "train_input_reader")
    records = sum(configs.count_records(file) for file in files)
    last_step = num_train_steps or train_config.num_steps
    if not last_step:
        raise UserError(
            "the number of steps is not set",
            at=f"{path}: train_config.num_steps",
            hint="set it, or give --num_train_steps",
        )
    resume_from = tf.train.latest_checkpoint(model_dir)
    if resume_from:
        # An empty value makes the train loop skip a file that may be gone by now.
        override += ' train_config { fine_tune_checkpoint: "" }'
    return _Plan(
        config=config,
        override=override,
        files=files,
        records=records,
        eval_records=_eval_records(config, path, metric) if metric else None,
        extractor=extractor,
        first_step=configs.checkpoint_step(resume_from) if resume_from else 0,
        last_step=last_step,
        resume_from=resume_from,
    )


def _eval_records(config: Any, path: str, metric: str) -> configs.EvalRecords:
    records = configs.eval_records(config, path)
    if metric in MASK_METRICS and not records.reader.load_instance_masks:
        raise UserError(
            f"without masks there is no {metric}",
            at=f"{path}: eval_input_reader[0].load_instance_masks",
            hint="set it, and mask_type: PNG_MASKS; or take another --best_metric",
        )
    return records


def _examine(config: Any, model_dir: str, evaluates: bool) -> None:
    """Prints the warnings of `odapi doctor`, and raises its errors."""
    found = quick(config, model_dir, evaluates=evaluates)
    errors = [finding for finding in found if finding.severity is Severity.ERROR]
    if errors:
        raise Refused(errors)
    for line in Summary(found).lines():
        print(line)


def _run_loop(
    plan: _Plan,
    pipeline_config_path: str,
    model_dir: str,
    log: Path,
    validation: Any,
    on_nonfinite: str,
    **options: Any,
) -> int | None:
    """Trains; returns the number of the signal that ended it early, if one did."""
    import tensorflow as tf
    from object_detection import model_lib_v2
    from object_detection.utils import nonfinite_steps

    # One device needs no replicas, and the default strategy is faster on it.
    many = len(tf.config.list_physical_devices("GPU")) > 1
    strategy = tf.distribute.MirroredStrategy() if many else tf.distribute.get_strategy()
    override = plan.override
    if not many:
        # Records of steps that are not finite name the images then. A string stays on the CPU,
        # where replicas cannot take it from.
        override += " train_input_reader { include_source_id: true }"
    recorder = nonfinite_steps.Recorder(
        str(Path(model_dir) / NONFINITE_NAME), stop=on_nonfinite == "stop"
    )
    with (
        log.open("a", encoding="utf-8") as stream,
        _built_model() as built,
        strategy.scope(),
        _restore_errors(plan),
    ):
        monitor = _Monitor(plan, stream, built, recorder, validation)
        try:
            with termination.first_signal_calls(monitor.stop):
                model_lib_v2.train_loop(
                    pipeline_config_path=pipeline_config_path,
                    model_dir=model_dir,
                    config_override=override,
                    train_steps=plan.last_step,
                    num_steps_per_iteration=1,
                    summary_every_n=STEPS_BETWEEN_SUMMARIES,
                    step_callback=monitor.step,
                    nonfinite_recorder=recorder,
                    checkpoint_callback=monitor.checkpoint,
                    **options,
                )
        except nonfinite_steps.NonfiniteStepError as error:
            raise _nonfinite(error, plan) from None
        except model_lib_v2.TrainableVariablesError as error:
            raise UserError(
                str(error), at="config: train_config", hint=_nearest_names(error)
            ) from None
        except (tf.errors.InvalidArgumentError, tf.errors.DataLossError) as error:
            if monitor.seen and "IteratorGetNext" not in error.message:
                raise
            raise UserError(
                f"batch {monitor.seen + 1} cannot be read: {error.message.splitlines()[0]}",
                at=", ".join(plan.files),
                hint=f"odapi doctor --config {pipeline_config_path} looks into every record",
            ) from error
        finally:
            monitor.close()
    if recorder.records:
        print(
            f"left out {_steps(recorder.records)} whose losses or gradients were not finite: "
            f"{recorder.folder}/steps.jsonl"
        )
    return monitor.stopped_by


def _nonfinite(error: Any, plan: _Plan) -> UserError:
    """What to tell of a `nonfinite_steps.NonfiniteStepError`."""
    record = error.record
    what = " and ".join(record["nonfinite"])
    images = ", ".join(str(image) for image in record["images"])
    return UserError(
        f"{what} became infinite or not a number at step {record['step']}",
        at=f"{plan.files[0]}{' and others' if len(plan.files) > 1 else ''}: images {images}; "
        f"the batch, and the variables before that step, are in {error.folder}",
        hint="lower the learning rate, or set gradient_clipping_by_norm: 10; look for boxes "
        "without area in the records; --on_nonfinite skip leaves such batches out",
        exit_code=1,
    )


def _nearest_names(error: Any) -> str:
    """What to write instead, for a `model_lib_v2.TrainableVariablesError`."""
    layers = {name.rpartition("/")[0]: None for name in error.names}
    nearest = difflib.get_close_matches(error.pattern or "", layers, n=3, cutoff=0.4)
    rule = "patterns are regular expressions, searched for anywhere in a variable's name"
    return f"{rule}; nearest: {', '.join(nearest)}" if nearest else rule


def _steps(records: list[Any]) -> str:
    steps = len({record["step"] for record in records})
    return f"{steps} {'step' if steps == 1 else 'steps'}"


class _Monitor:
    """Follows the steps of a run: log, progress, and the end of a run that diverged."""

    def __init__(
        self, plan: _Plan, stream: Any, built: list[Any], recorder: Any, validation: Any
    ) -> None:
        self._plan = plan
        self._stream = stream
        self._built = built
        self._recorder = recorder
        self._validation = validation
        self._evaluating = False
        self._progress = Progress(plan.last_step, plan.first_step)
        self._batch = plan.config.train_config.batch_size
        self._seconds: list[float] = []
        self._clock = time.monotonic()
        self.stopped_by: int | None = None

    @property
    def seen(self) -> int:
        """Number of steps so far."""
        return len(self._seconds)

    def stop(self, number: int) -> bool:
        """Asks for an end after the step under way, because of the signal of this number.

        Returns False where nothing is lost by an end at once: during the first step, which may
        take a minute, and during an evaluation, of a checkpoint that is written.
        """
        if not self.seen or self._evaluating:
            return False
        self.stopped_by = number
        return True

    def step(self, step: int, losses: Mapping[str, Any]) -> bool:
        """Called by the train loop after every step; returns whether that was the last."""
        values = {name: float(value) for name, value in losses.items()}
        now = time.monotonic()
        self._seconds.append(now - self._clock)
        self._clock = now
        rate = values.pop(LEARNING_RATE, None)
        entry = {
            "step": int(step),
            # JSON has no infinity.
            "losses": {
                name: value if math.isfinite(value) else None for name, value in values.items()
            },
            LEARNING_RATE: rate,
            "seconds": round(self._seconds[-1], 4),
        }
        self._stream.write(json.dumps(entry) + "\n")
        self._stream.flush()
        if self.seen == 1 and self._built:
            print(_parameters(self._built[0], self._plan.config.train_config))
        self._progress.show(int(step), self._status(int(step), values[TOTAL_LOSS]))
        return self.stopped_by is not None

    def checkpoint(self, step: int, path: str) -> bool:
        """Called by the train loop after every checkpoint; returns whether it was the last."""
        if self._validation is None or self.stopped_by is not None:
            return False
        self._evaluating = True
        ends = self._validation.checkpoint(step, path)
        self._evaluating = False
        self._clock = time.monotonic()
        return ends

    def close(self) -> None:
        """Ends the terminal line of a run that was cut short."""
        if self.seen and self._plan.first_step + self.seen < self._plan.last_step:
            self._progress.interrupt()

    def _status(self, step: int, loss: float) -> str:
        text = f"step {step}/{self._plan.last_step}  loss {loss:.4g}"
        if self._recorder.records:
            text += f"  left out {_steps(self._recorder.records)}"
        if self.seen == 1:
            return f"{text}  start-up {duration(self._seconds[0])}, time left from the next step on"
        # The first step traces and compiles the graph, and may take a minute.
        typical = statistics.median(self._seconds[1:][-100:])
        left = duration(typical * (self._plan.last_step - step))
        return f"{text}  {self._batch / typical:.1f} images/s  time left {left}"


def _parameters(model: Any, train_config: Any) -> str:
    from object_detection import model_lib_v2

    def count(variables: Any) -> int:
        return sum(math.prod(variable.shape) for variable in variables)

    trainable = model.trainable_variables
    trained = count(model_lib_v2.select_trainable_variables(trainable, train_config))
    text = f"{count(model.variables):,} parameters, {trained:,} of them trained"
    frozen = count(trainable) - trained
    return f"{text}, {frozen:,} frozen by train_config" if frozen else text


@contextmanager
def _built_model() -> Iterator[list[Any]]:
    """Yields a list that will hold the model the train loop builds.

    The loop takes its builder from this table, so that callers can put in their own.
    """
    from object_detection import model_lib_v2

    table = model_lib_v2.MODEL_BUILD_UTIL_MAP
    build = table["detection_model_fn_base"]
    built: list[Any] = []

    def build_and_keep(*args: Any, **kwargs: Any) -> Any:
        built.append(build(*args, **kwargs))
        return built[-1]

    table["detection_model_fn_base"] = build_and_keep
    try:
        yield built
    finally:
        table["detection_model_fn_base"] = build


@contextmanager
def _restore_errors(plan: _Plan) -> Iterator[None]:
    """Turns TensorFlow's complaints about a checkpoint that does not fit into one of ours."""
    source = plan.resume_from or plan.config.train_config.fine_tune_checkpoint
    try:
        yield
    except (AssertionError, ValueError, OSError) as error:
        text = str(error)
        telling = ("not bound to checkpointed", "incompatible tensor", "object-based checkpoint")
        if not source or not any(words in text for words in telling):
            raise
        kind = plan.config.train_config.fine_tune_checkpoint_type
        hint = (
            "the config has changed since; take another --model_dir"
            if plan.resume_from
            else f"fine_tune_checkpoint_type is {kind!r}: 'classification' takes the backbone of "
            "odapi convert, 'detection' the backbone of a detector, 'full' everything"
        )
        raise UserError(
            f"the checkpoint does not fit the model: {text.strip().splitlines()[0]}",
            at=source,
            hint=hint,
        ) from None


def _metric(text: str) -> str:
    names = METRICS + MASK_METRICS
    if text not in names:
        nearest = difflib.get_close_matches(text, names, n=3, cutoff=0.0)
        raise argparse.ArgumentTypeError(f"{text!r} is no metric; nearest: {', '.join(nearest)}")
    return text


def _boolean(text: str) -> bool:
    values = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if text.lower() not in values:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return values[text.lower()]
