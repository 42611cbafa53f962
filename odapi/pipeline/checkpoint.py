"""Checkpoints: found by folder or prefix, and the step they were written at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from odapi.console.errors import UserError


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
        raise UserError(f"there is no checkpoint {path}", at=flag, hint=_nearby_checkpoint(path))
    raise UserError(
        f"the folder holds no checkpoint: {path}",
        at=flag,
        hint=_nearby_checkpoint(path) or "give the --model_dir of a training run",
    )


def checkpoint_step(checkpoint: str) -> int:
    """The global step a training checkpoint was written at; 0 where it holds none.

    Args:
        checkpoint: its prefix.
    """
    import tensorflow as tf

    reader = tf.train.load_checkpoint(checkpoint)
    name = "step/.ATTRIBUTES/VARIABLE_VALUE"
    return int(reader.get_tensor(name)) if reader.has_tensor(name) else 0


def _nearby_checkpoint(path: str) -> str | None:
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    prefixes: Sequence[Path] = sorted(
        folder.glob("*.index"), key=lambda index: index.stat().st_mtime, reverse=True
    )
    return f"there is {prefixes[0].with_suffix('')}" if prefixes else None
