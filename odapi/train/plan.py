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
from odapi.pipeline.config import load
from odapi.pipeline.extractor import check_feature_extractor
from odapi.pipeline.inputs import EvalRecords, eval_records, record_files
from odapi.records import framing
from odapi.train import input_memory, workers
from odapi.train.options import TrainOptions


@dataclass(frozen=True)
class Plan:
    """A run whose config, records, label map and checkpoints have been looked at.

    Attributes:
        override: a text proto for the trainer to merge over the config.
        files: the record files to train on.
        records: how many records they hold.
        eval_records: what it is evaluated on, or None.
        extractor: the feature extractor's type.
        first_step: the step of the checkpoint that training resumes from, or 0.
        last_step: the step at which training ends.
        resume_from: that checkpoint's prefix, or None.
        memory: what its input pipeline holds.
    """

    config: Any
    override: str
    files: list[str]
    records: int
    eval_records: EvalRecords | None
    extractor: str
    first_step: int
    last_step: int
    resume_from: str | None
    memory: input_memory.InputMemory


def make(options: TrainOptions) -> Plan:
    """Looks at everything that a run needs, and prints what `odapi doctor` would warn of.

    Raises:
        UserError: something is wrong or missing.
    """
    import tensorflow as tf

    path, override = options.pipeline_config_path, options.config_override
    config = load(path, override)
    _examine(config, options)
    extractor = check_feature_extractor(config)
    train_config = config.train_config
    files = record_files(config.train_input_reader, "train_input_reader")
    records = sum(framing.count_records(file) for file in files)
    memory = input_memory.estimate(config, files, records)
    if options.max_input_memory:
        memory = memory.within(options.max_input_memory, train_config.batch_size)
        override += f" {memory.override()}"
    last_step = options.num_train_steps or train_config.num_steps
    if not last_step:
        raise UserError(
            "the number of steps is not set",
            at=f"{path}: train_config.num_steps",
            hint="set it, or give --num_train_steps",
        )
    resume_from = tf.train.latest_checkpoint(options.model_dir)
    if resume_from:
        # An empty value makes the trainer skip a file that may be gone by now.
        override += ' train_config { fine_tune_checkpoint: "" }'
    return Plan(
        config=config,
        override=override,
        files=files,
        records=records,
        eval_records=_eval_records(config, options) if options.eval_every_n else None,
        extractor=extractor,
        first_step=checkpoint_step(resume_from) if resume_from else 0,
        last_step=last_step,
        resume_from=resume_from,
        memory=memory,
    )


def announce(plan: Plan, team: workers.Workers) -> None:
    """Prints what will be done.

    Raises:
        UserError: the replicas cannot divide a batch.
    """
    say(f"{plan.extractor}: {_work(plan, team)}; building the model")
    say(f"the input takes about {input_memory.megabytes(plan.memory.total)}: {plan.memory}")
    if plan.resume_from:
        say(f"resuming from step {plan.first_step}: {plan.resume_from}")


def _work(plan: Plan, team: workers.Workers) -> str:
    """The steps to do, in words."""
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


def _eval_records(config: Any, options: TrainOptions) -> EvalRecords:
    path, metric = options.pipeline_config_path, options.best_metric
    records = eval_records(config, path)
    if metric in MASK_METRICS and not records.reader.load_instance_masks:
        raise UserError(
            f"without masks there is no {metric}",
            at=f"{path}: eval_input_reader[0].load_instance_masks",
            hint="set it, and mask_type: PNG_MASKS; or take another --best_metric",
        )
    return records


def _examine(config: Any, options: TrainOptions) -> None:
    """Prints the warnings of `odapi doctor`, and raises its errors."""
    found = quick(config, options.model_dir, evaluates=options.eval_every_n is not None)
    errors = [finding for finding in found if finding.severity is Severity.ERROR]
    if errors:
        raise Refused(errors)
    for line in Summary(found).lines():
        say(line)
