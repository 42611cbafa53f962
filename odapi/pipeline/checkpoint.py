"""Checkpoints: found by folder or prefix, and the step they were written at."""

from __future__ import annotations

from pathlib import Path

from odapi.console.errors import UserError

STEP = "step/.ATTRIBUTES/VARIABLE_VALUE"
"""The name of the global step in a checkpoint of training. An export and the zoo have none."""


def find_checkpoint(path: str, flag: str) -> str:
    """The checkpoint that a folder or a prefix stands for.

    Args:
        path: a folder with a `checkpoint` state file (its latest is taken), or `DIR/ckpt-7`.
        flag: where `path` comes from, for messages.

    Returns:
        The checkpoint's prefix.

    Raises:
        UserError: there is no checkpoint.
    """
    import tensorflow as tf

    if Path(f"{path}.index").is_file():
        return path
    latest = tf.train.latest_checkpoint(path) if Path(path).is_dir() else None
    if latest is not None:
        return latest
    if not Path(path).is_dir():
        raise UserError(f"there is no checkpoint {path}", at=flag, hint=nearby(path))
    raise UserError(
        f"the folder holds no checkpoint: {path}",
        at=flag,
        hint=nearby(path) or "give the --model_dir of a training run",
    )


def checkpoint_step(checkpoint: str) -> int:
    """The global step a training checkpoint was written at; 0 where it holds none.

    Args:
        checkpoint: its prefix.
    """
    import tensorflow as tf

    reader = tf.train.load_checkpoint(checkpoint)
    return int(reader.get_tensor(STEP)) if reader.has_tensor(STEP) else 0


def nearby(path: str) -> str | None:
    """A hint at a checkpoint in or beside `path`, which may be the one that was meant, or None."""
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    # A model of the zoo has it in a folder of this name, with a folder saved_model beside that.
    for place in (folder, folder / "checkpoint", folder.parent / "checkpoint"):
        indexes = sorted(place.glob("*.index"), key=lambda index: index.stat().st_mtime)
        if indexes:
            return f"there is {indexes[-1].with_suffix('')}"
    return None
