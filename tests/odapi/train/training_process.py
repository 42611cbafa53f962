"""`odapi train` in a process of its own, as a worker or on two devices; keeps every checkpoint.

The first argument is "worker" or "devices", the second a folder to copy checkpoints to, also those
that workers other than the chief write and remove. The others are those of `odapi train`.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from odapi import cli
from odapi.console import runtime
from odapi.train import workers


def main() -> int:
    kind, kept, *arguments = sys.argv[1:]
    runtime.start()
    import tensorflow as tf

    if kind == "devices":
        devices = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(
            tf.config.list_physical_devices("CPU")[0], devices
        )
        mirrored = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
        workers.join = lambda num_workers: workers.Workers(mirrored, None)

    save = tf.train.CheckpointManager.save

    def save_and_keep(*args, **kwargs):
        path = Path(save(*args, **kwargs))
        Path(kept).mkdir(parents=True, exist_ok=True)
        for file in path.parent.glob(f"{path.name}.*"):
            shutil.copy(file, kept)
        return str(path)

    tf.train.CheckpointManager.save = save_and_keep
    return cli.main(["train", *arguments])


if __name__ == "__main__":
    sys.exit(main())
