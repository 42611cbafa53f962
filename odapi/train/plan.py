"""What a run will do, found out before anything is built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from odapi.console.errors import UserError
from odapi.console.terminal import say
from odapi.doctor.config import quick
from odapi.doctor.findings import Refused, Severity, Summary
from odapi.evaluate.result import MASK_METRICS
from odapi.pipeline.checkpoint import checkpoint_step
from odapi.pipeline.config import Pipeline
from odapi.pipeline.inputs import EvalRecords
from odapi.records import framing
from odapi.train.input_memory import InputMemory, estimate, megabytes
from odapi.train.options import TrainOptions
from odapi.train.workers import Workers


@dataclass(frozen=True)
class Plan:
    """A run whose config, records, label map and checkpoints have been looked at.

    Attributes:
        pipeline: the config as the user gave it.
        config: the `TrainEvalPipelineConfig` that is trained: what the run changes is in it.
        records: number of records to train on.
        eval_records: what it is evaluated on, or None.
        first_step: the step of the checkpoint that training resumes from, or 0.
        last_step: the step at which training ends.
        resume_from: that checkpoint's prefix, or None.
        memory: what its input pipeline holds.
    """

    pipeline: Pipeline
    config: Any
    records: int
    eval_records: EvalRecords | None
    first_step: int
    last_step: int
    resume_from: str | None
    memory: InputMemory


def make(options: TrainOptions, team: Workers) -> Plan:
    """Looks at everything that a run needs, and prints what `odapi doctor` would warn of.

    Raises:
        UserError: something is wrong or missing.
    """
    import tensorflow as tf

    pipeline = Pipeline.load(options.config, options.config_override)
    _examine(pipeline, options)
    records = sum(framing.count_records(file) for file in pipeline.train_files)
    memory = estimate(pipeline.config, pipeline.train_files, records)
    if options.max_input_memory:
        memory = memory.within(options.max_input_memory, pipeline.config.train_config.batch_size)
    last_step = options.num_train_steps or pipeline.config.train_config.num_steps
    if not last_step:
        raise UserError(
            "the number of steps is not set",
            at=f"{pipeline.path}: train_config.num_steps",
            hint="set it, or give --num_train_steps",
        )
    resume_from = tf.train.latest_checkpoint(options.model_dir)
    return Plan(
        pipeline=pipeline,
        config=_trained_config(pipeline, options, memory, resume_from, team),
        records=records,
        eval_records=_eval_records(pipeline, options) if options.eval_every_n else None,
        first_step=checkpoint_step(resume_from) if resume_from else 0,
        last_step=last_step,
        resume_from=resume_from,
        memory=memory,
    )


def _trained_config(
    pipeline: Pipeline,
    options: TrainOptions,
    memory: InputMemory,
    resume_from: str | None,
    team: Workers,
) -> Any:
    """The config with all that a run changes in it."""
    config = pipeline.copy_config()
    if options.max_input_memory:
        memory.apply_to(config.train_input_reader)
    if resume_from:
        # The trainer skips the file then, which may be gone by now.
        config.train_config.fine_tune_checkpoint = ""
    if team.strategy.num_replicas_in_sync == 1:
        # Records of steps that are not finite name the images then. A string stays on the CPU,
        # where replicas cannot take it from.
        config.train_input_reader.include_source_id = True
    return config


def announce(plan: Plan, team: Workers) -> None:
    """Prints what will be done.

    Raises:
        UserError: the replicas cannot divide a batch.
    """
    say(f"{plan.pipeline.extractor}: {_steps_in_words(plan, team)}; building the model")
    say(f"the input takes about {megabytes(plan.memory.total)}: {plan.memory}")
    if plan.resume_from:
        say(f"resuming from step {plan.first_step}: {plan.resume_from}")


def _steps_in_words(plan: Plan, team: Workers) -> str:
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


def _eval_records(pipeline: Pipeline, options: TrainOptions) -> EvalRecords:
    records, metric = pipeline.eval_records, options.best_metric
    if metric in MASK_METRICS and not records.reader.load_instance_masks:
        raise UserError(
            f"without masks there is no {metric}",
            at=f"{pipeline.path}: eval_input_reader[0].load_instance_masks",
            hint="set it, and mask_type: PNG_MASKS; or take another --best_metric",
        )
    return records


def _examine(pipeline: Pipeline, options: TrainOptions) -> None:
    """Prints the warnings of `odapi doctor`, and raises its errors."""
    found = quick(pipeline, options.model_dir, evaluates=options.eval_every_n is not None)
    errors = [finding for finding in found if finding.severity is Severity.ERROR]
    if errors:
        raise Refused(errors)
    for line in Summary(found).lines():
        say(line)
