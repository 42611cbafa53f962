"""`odapi train` in this process, and what it leaves in checkpoints."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from odapi import cli


def train(config: Path, model_dir: Path, steps: int, *more: str) -> int:
    """Runs the command with these and further flags; returns its exit code."""
    return cli.main(
        [
            "train",
            f"--pipeline_config_path={config}",
            f"--model_dir={model_dir}",
            f"--num_train_steps={steps}",
            *more,
        ]
    )


def variables(checkpoint: Path, everything: bool = False) -> dict[str, np.ndarray]:
    """The variables in a checkpoint, or in the last one of a folder, by key.

    Args:
        checkpoint: its prefix, or a folder.
        everything: the optimizer's and the step, too; without that, the model's. How many
            checkpoints were saved belongs to neither.
    """
    import tensorflow as tf

    def is_wanted(key: str) -> bool:
        if everything:
            return key.endswith("VARIABLE_VALUE") and not key.startswith("save_counter")
        return key.startswith("model/") and "OPTIMIZER_SLOT" not in key

    reader = tf.train.load_checkpoint(str(checkpoint))
    keys = filter(is_wanted, reader.get_variable_to_shape_map())
    return {key: reader.get_tensor(key) for key in keys}
