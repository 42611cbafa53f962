"""A run from its options to its result."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from odapi.console import termination
from odapi.console.terminal import say
from odapi.pipeline.checkpoint import checkpoint_step, find_checkpoint
from odapi.train import plan as planning
from odapi.train import workers
from odapi.train.folder import RunFolder
from odapi.train.options import TrainOptions

if TYPE_CHECKING:
    from object_detection.training.hook import Hook

    from odapi.train.monitor import Monitor
    from odapi.train.signals import Signals
    from odapi.train.validation import Validation

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


def train(options: TrainOptions) -> TrainingResult:
    """Trains the model of a pipeline config and prints progress.

    Raises:
        UserError: something in the config, the records or TF_CONFIG is wrong; nothing was trained.
            Or, with exit code 1, a loss or gradient became infinite or not a number, or another
            worker is gone; the checkpoints written before that are kept.
        termination.Terminated: SIGTERM arrived, here or at another worker; the step under way is
            in a checkpoint.
        KeyboardInterrupt: the same of SIGINT.
    """
    started = time.monotonic()
    team = workers.join(options.num_workers)
    with team.running():
        plan = planning.make(options, team)
        planning.announce(plan, team)
        folder = RunFolder(Path(options.model_dir), team)
        folder.prepare(plan.first_step)
        seed = folder.settle_seed(options.seed, resumes=plan.resume_from is not None)
        folder.barrier(plan.first_step)
        validation = _validation(plan, options, folder) if team.is_chief else None
        stopped_by = 0
        ends = False
        if validation and plan.resume_from:
            # The last run may have been interrupted in an evaluation, or have been without.
            ends = validation.checkpoint(plan.first_step, plan.resume_from)
        ends = any(team.gather(ends))
        if plan.first_step >= plan.last_step:
            say(f"nothing to do: step {plan.first_step} of {plan.last_step} is reached already")
        elif not ends:
            stopped_by = _run(plan, options, team, folder, seed, validation)
        checkpoint = find_checkpoint(options.model_dir, "--model_dir")
        result = TrainingResult(
            checkpoint_step(checkpoint), checkpoint, folder.log, time.monotonic() - started
        )
        say(f"checkpoint of step {result.step}: {checkpoint}")
        say(f"losses of every step: {folder.log}")
        if validation and validation.best:
            value, step = validation.best
            metric = options.best_metric
            say(f"best checkpoint: {validation.folder}, step {step}, {metric} {value:.3f}")
    if stopped_by:
        termination.raise_for(stopped_by)
    return result


def _validation(plan: planning.Plan, options: TrainOptions, folder: RunFolder) -> Validation | None:
    if not options.eval_every_n:
        return None
    # Loads pycocotools and matplotlib with it.
    from odapi.train.validation import Validation

    return Validation(
        plan.config,
        plan.eval_records,
        folder.path,
        every_n=options.eval_every_n,
        metric=options.best_metric,
        patience=options.early_stopping_patience,
        first_step=plan.first_step,
        last_step=plan.last_step,
    )


def _run(
    plan: planning.Plan,
    options: TrainOptions,
    team: workers.Workers,
    folder: RunFolder,
    seed: int | None,
    validation: Validation | None,
) -> int:
    """Trains; returns the number of the signal that ended it early, or 0.

    All workers return at once, when the chief's last checkpoint is complete.
    """
    from object_detection.training import run_config
    from object_detection.training.nonfinite import NonfiniteSteps
    from object_detection.training.seed import Seed
    from object_detection.training.trainer import Trainer
    from object_detection.utils.nonfinite_steps import Recorder

    from odapi.train.failures import explained
    from odapi.train.monitor import Monitor, count_steps, steps_in_words
    from odapi.train.signals import Signals

    recorder = Recorder(str(folder.nonfinite(team.index)), stop=options.on_nonfinite == "stop")
    monitor, signals = Monitor(plan, folder.own_log, recorder), Signals(team)
    with _deterministic_ops(seed), team.strategy.scope(), explained(plan, monitor):
        Trainer(
            run_config.of(plan.config, plan.last_step),
            options.model_dir,
            _hooks(options, team, monitor, signals, validation),
            seed=Seed(seed),
            nonfinite=NonfiniteSteps(recorder),
            record_summaries=options.record_summaries,
            checkpoint_max_to_keep=options.checkpoint_max_to_keep,
        ).train()
    for index, steps in enumerate(team.gather(count_steps(recorder))):
        if steps:
            say(
                f"left out {steps_in_words(steps)} whose losses or gradients were not finite: "
                f"{folder.nonfinite(index)}/steps.jsonl"
            )
    return signals.agree()


def _hooks(
    options: TrainOptions,
    team: workers.Workers,
    monitor: Monitor,
    signals: Signals,
    validation: Validation | None,
) -> list[Hook]:
    """What happens between steps, in this order."""
    from object_detection import model_lib_v2
    from object_detection.training.checkpoints import Checkpoints
    from object_detection.training.log import Log
    from object_detection.training.mixed_precision import MixedPrecision
    from object_detection.training.summaries import Summaries

    from odapi.train.evaluation import Evaluation

    return [
        MixedPrecision(options.mixed_precision),
        Summaries(STEPS_BETWEEN_SUMMARIES),
        signals,
        monitor,
        Log(model_lib_v2.LOG_EVERY),
        Checkpoints(options.steps_between_checkpoints),
        Evaluation(validation, team, monitor, signals),
    ]


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
