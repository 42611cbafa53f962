"""`odapi train`: upstream's train loop with checks before it and progress from the first step."""

from __future__ import annotations

import argparse
import difflib
import json
import math
import os
import shutil
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from odapi import config as configs
from odapi import framing, input_memory, termination, workers
from odapi.arguments import add_config, natural, positive, require_folder, size
from odapi.doctor.config import quick
from odapi.doctor.findings import Refused, Severity, Summary
from odapi.errors import UserError, op_reason
from odapi.evaluation.result import MASK_METRICS, METRICS
from odapi.files import drop_steps_after, write_text
from odapi.progress import Progress, duration
from odapi.terminal import say

LOG_NAME = "train_log.jsonl"
NONFINITE_NAME = "nonfinite"
SEED_NAME = "seed.json"
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
        memory: what its input pipeline holds.
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
    memory: input_memory.InputMemory


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
    parser.add_argument(
        "--max_input_memory",
        type=size,
        metavar="SIZE",
        help="hold what is read ahead, shuffled and prefetched to this much memory, as 500MB or "
        "1.5GB (default: what the config's train_input_reader asks for)",
    )
    parser.add_argument(
        "--seed",
        type=natural,
        metavar="N",
        help="make initial variables, the order of the records, augmentation, sampling and dropout "
        "follow from this number, from 0: a run that is interrupted and resumed ends with the "
        "variables of one that was not; resumed runs take it from model_dir",
    )
    parser.add_argument(
        "--mixed_precision",
        choices=("float32", "mixed_bfloat16", "mixed_float16"),
        default="float32",
        help="what layers compute in (default float32); variables, losses and checkpoints are "
        "float32 in any case",
    )
    parser.add_argument(
        "--num_workers",
        type=positive,
        default=1,
        metavar="N",
        help="processes that train together, each started with this command and a "
        f"{workers.VARIABLE} of its own, which says where they are (default 1)",
    )


def check_paths(args: argparse.Namespace) -> None:
    """Raises UserError where a path is wrong at first sight."""
    configs.require_file(args.pipeline_config_path, "--pipeline_config_path")
    require_folder(Path(args.model_dir), "--model_dir")
    workers.read_task(args.num_workers)
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
        seed=args.seed,
        max_input_memory=args.max_input_memory,
        mixed_precision=args.mixed_precision,
        num_workers=args.num_workers,
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
    seed: int | None = None,
    max_input_memory: int | None = None,
    mixed_precision: str = "float32",
    num_workers: int = 1,
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
        seed: at least 0. What random numbers and the order of the records follow from, so that
            on a CPU a resumed run ends with the variables of an uninterrupted one, to the bit;
            a resumed run has that of its start. None: they follow from nothing.
        max_input_memory: bytes that the input pipeline may hold. None: what the config asks for.
        mixed_precision: "float32", "mixed_bfloat16" or "mixed_float16", the last with a loss
            scale: what layers compute in. Variables are float32.
        num_workers: processes that train together. With more than one, each calls this before it
            does anything else with TensorFlow, and TF_CONFIG says which of them it is.
        config_override: a text proto, merged over the config.

    Raises:
        UserError: something in the config, the records or TF_CONFIG is wrong; nothing was trained.
            Or, with exit code 1, a loss or gradient became infinite or not a number, or another
            worker is gone; the checkpoints written before that are kept.
        termination.Terminated: SIGTERM arrived, here or at another worker; the step under way is
            in a checkpoint.
        KeyboardInterrupt: the same of SIGINT.
    """
    started = time.monotonic()
    team = workers.join(num_workers)
    with team.together():
        plan = _plan(
            pipeline_config_path,
            model_dir,
            num_train_steps,
            best_metric if eval_every_n else None,
            max_input_memory,
            config_override,
        )
        say(f"{plan.extractor}: {_work(plan, team)}; building the model")
        say(f"the input takes about {input_memory.megabytes(plan.memory.total)}: {plan.memory}")
        if plan.resume_from:
            say(f"resuming from step {plan.first_step}: {plan.resume_from}")
        folder = Path(model_dir)
        log = folder / LOG_NAME
        if team.is_chief:
            _prepare(folder, log, plan.first_step)
        resumes = plan.resume_from is not None
        seed = _seed(folder / SEED_NAME, seed, resumes, writes=team.is_chief)
        _meet(team, plan, log)
        validation = None
        if eval_every_n:
            checkpoint_every_n = min(checkpoint_every_n, eval_every_n)
        if eval_every_n and team.is_chief:
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
        stopped_by = None
        ends = False
        if validation and plan.resume_from:
            # The last run may have been interrupted in an evaluation, or have been without.
            ends = validation.checkpoint(plan.first_step, plan.resume_from)
        ends = any(team.gather(ends))
        if plan.first_step >= plan.last_step:
            say(f"nothing to do: step {plan.first_step} of {plan.last_step} is reached already")
        elif not ends:
            stopped_by = _run_loop(
                plan,
                team,
                pipeline_config_path,
                model_dir,
                log,
                validation,
                checkpoint_every_n=checkpoint_every_n,
                checkpoint_max_to_keep=checkpoint_max_to_keep,
                record_summaries=record_summaries,
                on_nonfinite=on_nonfinite,
                seed=seed,
                mixed_precision=mixed_precision,
            )
        checkpoint = configs.find_checkpoint(model_dir, "--model_dir")
        result = TrainingResult(
            configs.checkpoint_step(checkpoint), checkpoint, log, time.monotonic() - started
        )
        say(f"checkpoint of step {result.step}: {checkpoint}")
        say(f"losses of every step: {log}")
        if validation and validation.best:
            value, step = validation.best
            say(f"best checkpoint: {validation.folder}, step {step}, {best_metric} {value:.3f}")
    if stopped_by:
        termination.raise_for(stopped_by)
    return result


def _work(plan: _Plan, team: workers.Workers) -> str:
    """The steps to do, in words.

    Raises:
        UserError: the replicas cannot divide a batch.
    """
    batch = plan.config.train_config.batch_size
    replicas = team.strategy.num_replicas_in_sync
    if batch % replicas:
        raise UserError(
            f"{replicas} replicas cannot divide a batch of {batch} images evenly",
            at="config: train_config.batch_size",
            hint=f"it is that of all replicas together: set {-(-batch // replicas) * replicas}",
        )
    each = f", {batch // replicas} of them for each of {replicas} replicas" if replicas > 1 else ""
    return (
        f"steps {plan.first_step + 1} to {plan.last_step}, "
        f"{batch} {'image' if batch == 1 else 'images'} each{each}, "
        f"{plan.records} {'record' if plan.records == 1 else 'records'}"
    )


def _prepare(folder: Path, log: Path, first_step: int) -> None:
    """Makes the run's folder, and forgets what it holds of steps that will be repeated."""
    folder.mkdir(parents=True, exist_ok=True)
    drop_steps_after(log, first_step)
    for steps in folder.glob(f"{NONFINITE_NAME}/**/steps.jsonl"):
        drop_steps_after(steps, first_step)
    log.touch()
    # A worker that was killed leaves the folders that TensorFlow made it write to.
    for left in [*folder.glob("temp_worker_*"), *folder.glob("train/temp_worker_*")]:
        shutil.rmtree(left)


def _meet(team: workers.Workers, plan: _Plan, log: Path) -> None:
    """Waits until all workers are ready, and the chief has prepared the folder.

    Raises:
        UserError: the workers do not look at the same folder.
    """
    first_steps = team.gather(plan.first_step)
    if len(set(first_steps)) > 1:
        what = "the workers see checkpoints of other steps: " + ", ".join(map(str, first_steps))
    elif not log.is_file():
        what = "this worker does not see what the chief wrote"
    else:
        return
    raise UserError(
        what,
        at=f"--model_dir {log.parent.absolute()}",
        hint="name a folder that all workers share",
    )


def _plan(
    path: str,
    model_dir: str,
    num_train_steps: int | None,
    metric: str | None,
    max_input_memory: int | None,
    override: str,
) -> _Plan:
    import tensorflow as tf

    config = configs.load(path, override)
    _examine(config, model_dir, evaluates=metric is not None)
    extractor = configs.check_feature_extractor(config)
    train_config = config.train_config
    files = configs.record_files(config.train_input_reader, "train_input_reader")
    records = sum(framing.count_records(file) for file in files)
    memory = input_memory.estimate(config, files, records)
    if max_input_memory:
        memory = memory.within(max_input_memory, train_config.batch_size)
        override += f" {memory.override()}"
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
        memory=memory,
    )


def _seed(file: Path, seed: int | None, resumes: bool, writes: bool) -> int | None:
    """The seed of a run, which is kept in a file: a resumed run goes on with that of its start."""
    if not resumes and writes:
        if seed is None:
            file.unlink(missing_ok=True)
        else:
            write_text(file, json.dumps({"seed": seed}) + "\n")
    elif resumes:
        begun_with = json.loads(file.read_text(encoding="utf-8"))["seed"] if file.exists() else None
        if seed not in (None, begun_with):
            start = "without a seed" if begun_with is None else f"with seed {begun_with}"
            raise UserError(
                f"the run was begun {start}",
                at=f"--seed {seed}, and {file}",
                hint="leave out --seed to go on with that, or take another --model_dir",
            )
        seed = begun_with
    if seed is not None:
        say(f"seed {seed}: on a CPU, a resumed run ends as an uninterrupted one, to the bit")
    return seed


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
        say(line)


def _run_loop(
    plan: _Plan,
    team: workers.Workers,
    pipeline_config_path: str,
    model_dir: str,
    log: Path,
    validation: Any,
    on_nonfinite: str,
    **options: Any,
) -> int | None:
    """Trains; returns the number of the signal that ended it early, if one did.

    All workers return at once, when the chief's last checkpoint is complete.
    """
    import tensorflow as tf
    from object_detection import model_lib_v2
    from object_detection.training import trainable_variables
    from object_detection.utils import nonfinite_steps
    from object_detection.utils.mixed_precision import UnsupportedError

    strategy = team.strategy
    override = plan.override
    if strategy.num_replicas_in_sync == 1:
        # Records of steps that are not finite name the images then. A string stays on the CPU,
        # where replicas cannot take it from.
        override += " train_input_reader { include_source_id: true }"
    if not team.is_chief:
        log = Path(os.devnull)
    recorder = nonfinite_steps.Recorder(
        str(_nonfinite_folder(model_dir, team.index)), stop=on_nonfinite == "stop"
    )
    with (
        log.open("a", encoding="utf-8") as stream,
        _built_model() as built,
        _deterministic_ops(options["seed"]),
        strategy.scope(),
        _restore_errors(plan),
    ):
        monitor = _Monitor(plan, team, stream, built, recorder, validation)
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
        except trainable_variables.TrainableVariablesError as error:
            raise UserError(
                str(error), at="config: train_config", hint=_nearest_names(error)
            ) from None
        except UnsupportedError as error:
            # AutoGraph puts the way to it in front.
            raise UserError(
                str(error).splitlines()[-1].strip().removeprefix("UnsupportedError: "),
                at=f"{pipeline_config_path}: {plan.extractor}",
                hint="leave --mixed_precision out, or change what stands in its way",
            ) from None
        except (
            tf.errors.InvalidArgumentError,
            tf.errors.DataLossError,
            tf.errors.OutOfRangeError,
        ) as error:
            if monitor.seen and "IteratorGetNext" not in error.message:
                raise
            reason = op_reason(error).splitlines()[0]
            raise _unread(monitor.seen + 1, reason, plan, pipeline_config_path) from error
        except UnicodeDecodeError as error:
            # TensorFlow's message quotes the record, and is then no text.
            reason = "a record is not a tf.train.Example"
            raise _unread(monitor.seen + 1, reason, plan, pipeline_config_path) from error
        finally:
            monitor.close()
            for folder in (model_dir, f"{model_dir}/train"):
                temporary = model_lib_v2.get_filepath(strategy, folder)
                model_lib_v2.clean_temporary_directories(strategy, temporary)
    for index, steps in enumerate(team.gather(_count(recorder.records))):
        if steps:
            say(
                f"left out {_steps(steps)} whose losses or gradients were not finite: "
                f"{_nonfinite_folder(model_dir, index)}/steps.jsonl"
            )
    return monitor.end()


def _unread(batch: int, reason: str, plan: _Plan, path: str) -> UserError:
    """What to tell of a batch that the input could not make."""
    return UserError(
        f"batch {batch} cannot be read: {reason}",
        at=", ".join(plan.files),
        hint=f"odapi doctor --config {path} looks into every record",
    )


def _nonfinite_folder(model_dir: str, index: int) -> Path:
    """Where a worker keeps steps that were not finite: each has a batch of its own."""
    folder = Path(model_dir) / NONFINITE_NAME
    return folder / f"worker_{index}" if index else folder


def _nonfinite(error: Any, plan: _Plan) -> UserError:
    """What to tell of a `nonfinite_steps.NonfiniteStepError`."""
    record = error.record
    if not record["images"]:
        return UserError(
            f"a loss or gradient became infinite or not a number at step {record['step']}, "
            "in the batch of another worker",
            at=str(Path(error.folder).parent),
            hint="that worker names it",
            exit_code=1,
        )
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
    """What to write instead, for a `trainable_variables.TrainableVariablesError`."""
    layers = {name.rpartition("/")[0]: None for name in error.names}
    nearest = difflib.get_close_matches(error.pattern or "", layers, n=3, cutoff=0.4)
    rule = "patterns are regular expressions, searched for anywhere in a variable's name"
    return f"{rule}; nearest: {', '.join(nearest)}" if nearest else rule


def _count(records: list[Any]) -> int:
    return len({record["step"] for record in records})


def _steps(number: int) -> str:
    return f"{number} {'step' if number == 1 else 'steps'}"


class _Monitor:
    """Follows the steps of a run: log, progress, and the end of a run that diverged."""

    def __init__(
        self,
        plan: _Plan,
        team: workers.Workers,
        stream: Any,
        built: list[Any],
        recorder: Any,
        validation: Any,
    ) -> None:
        self._plan = plan
        self._team = team
        self._stream = stream
        self._built = built
        self._recorder = recorder
        self._validation = validation
        self._evaluating = False
        self._progress = Progress(plan.last_step, plan.first_step)
        self._batch = plan.config.train_config.batch_size
        self._seconds: list[float] = []
        self._clock = time.monotonic()
        self._asked = 0
        self._stopped_by = 0

    @property
    def seen(self) -> int:
        """Number of steps so far."""
        return len(self._seconds)

    def stop(self, number: int) -> bool:
        """Asks for an end after the step under way, because of the signal of this number.

        Returns False where nothing is lost by an end at once: during the first step, which may
        take a minute, and during an evaluation, of a checkpoint that is written. Other workers
        wait for the end of an evaluation, so that it is not cut short then.
        """
        if not self.seen or (self._evaluating and self._team.count == 1):
            return False
        self._asked = number
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
            self._progress.make_room()
            say(_parameters(self._built[0], self._plan.config.train_config))
        self._progress.show(int(step), self._status(int(step), values[TOTAL_LOSS]))
        return self.end() is not None

    def checkpoint(self, step: int, path: str) -> bool:
        """Called by the train loop after every checkpoint; returns whether it was the last."""
        if self._stopped_by:
            return False
        ends = False
        if self._validation is not None:
            self._evaluating = True
            self._progress.make_room()
            ends = self._team.alone(lambda: self._validation.checkpoint(step, path))
            self._evaluating = False
            self._clock = time.monotonic()
        return any(self._team.gather(ends))

    def end(self) -> int | None:
        """The signal that ends training, if one does.

        All workers end after the same step, whichever of them it was sent to: one alone would
        leave the others waiting.
        """
        self._stopped_by = max(self._team.gather(self._asked))
        return self._stopped_by or None

    def close(self) -> None:
        """Ends the progress of a run that was cut short."""
        self._progress.close()

    def _status(self, step: int, loss: float) -> str:
        text = f"step {step}/{self._plan.last_step}  loss {loss:.4g}"
        if self._recorder.records:
            text += f"  left out {_steps(_count(self._recorder.records))}"
        if self.seen == 1:
            return f"{text}  start-up {duration(self._seconds[0])}, time left from the next step on"
        # The first step traces and compiles the graph, and may take a minute.
        typical = statistics.median(self._seconds[1:][-100:])
        left = duration(typical * (self._plan.last_step - step))
        return f"{text}  {self._batch / typical:.1f} images/s  time left {left}"


def _parameters(model: Any, train_config: Any) -> str:
    from object_detection.training import trainable_variables

    def count(variables: Any) -> int:
        return sum(math.prod(variable.shape) for variable in variables)

    trainable = model.trainable_variables
    trained = count(trainable_variables.select(trainable, train_config))
    text = f"{count(model.variables):,} parameters, {trained:,} of them trained"
    frozen = count(trainable) - trained
    return f"{text}, {frozen:,} frozen by train_config" if frozen else text


@contextmanager
def _deterministic_ops(seed: int | None) -> Iterator[None]:
    """Has operations add up in a fixed order, if there is a seed; some are slower for that.

    Without it crop_and_resize, of Faster R-CNN, adds gradients as its threads come. On a GPU it
    has no such form, and would refuse to work.
    """
    import tensorflow as tf
    from tensorflow.python.framework import config

    if seed is None or tf.config.list_physical_devices("GPU") or config.is_op_determinism_enabled():
        yield
        return
    tf.config.experimental.enable_op_determinism()
    try:
        yield
    finally:
        # It is of the whole process, where random operations without a seed would fail from now on.
        config.disable_op_determinism()


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
    """Turns complaints about a checkpoint that does not fit into one of ours."""
    from object_detection.utils.restored_values import RestoreError

    source = plan.resume_from or plan.config.train_config.fine_tune_checkpoint
    try:
        yield
    except (AssertionError, ValueError, OSError) as error:
        text = str(error)
        telling = ("not bound to checkpointed", "incompatible tensor", "object-based checkpoint")
        known = isinstance(error, RestoreError) or any(words in text for words in telling)
        if not source or not known:
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
