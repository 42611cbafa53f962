"""What a training run is asked to do."""

from __future__ import annotations

from dataclasses import dataclass

from odapi.evaluate.result import METRICS


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """The flags of `odapi train`, by their names.

    Attributes:
        config: path of the pipeline config.
        model_dir: made if it is missing; resumed from if it holds a checkpoint, in which case
            `fine_tune_checkpoint` is not read.
        num_train_steps: global step to end at, not a number of further steps; None: the config's
            num_steps.
        checkpoint_every_n: steps between checkpoints.
        checkpoint_max_to_keep: how many to keep.
        record_summaries: write training images to TensorBoard beside the losses.
        eval_every_n: steps between evaluations, which checkpoints are written for; None: none.
        best_metric: one of METRICS and MASK_METRICS.
        early_stopping_patience: evaluations without a new best after which training ends; None:
            it does not.
        on_nonfinite: "stop" or "skip": what a loss or gradient that is not finite does. The
            variables stay as they were before such a step either way.
        seed: at least 0. What random numbers and the order of the records follow from, so that
            on a CPU a resumed run ends with the variables of an uninterrupted one, to the bit;
            a resumed run has that of its start. None: they follow from nothing.
        max_input_memory: bytes that the input pipeline may hold. None: what the config asks for.
        mixed_precision: "float32", "mixed_bfloat16" or "mixed_float16", the last with a loss
            scale: what layers compute in. Variables are float32.
        num_workers: processes that train together. With more than one, each calls `train` before
            it does anything else with TensorFlow, and TF_CONFIG says which of them it is.
        config_override: a text proto, merged over the config.
    """

    config: str
    model_dir: str
    num_train_steps: int | None = None
    checkpoint_every_n: int = 1000
    checkpoint_max_to_keep: int = 7
    record_summaries: bool = True
    eval_every_n: int | None = None
    best_metric: str = METRICS[0]
    early_stopping_patience: int | None = None
    on_nonfinite: str = "stop"
    seed: int | None = None
    max_input_memory: int | None = None
    mixed_precision: str = "float32"
    num_workers: int = 1
    config_override: str = ""

    @property
    def steps_between_checkpoints(self) -> int:
        """Checkpoints come at least as often as evaluations, which are of them."""
        return min(self.checkpoint_every_n, self.eval_every_n or self.checkpoint_every_n)
