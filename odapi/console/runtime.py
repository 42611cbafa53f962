"""Brings up TensorFlow and the patched tree, without the lines that TensorFlow prints."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator

from odapi.console.errors import UserError


def start(verbose: bool = False) -> None:
    """Imports `object_detection`, which settles Keras 2 and TF2 behaviour for the process.

    Args:
        verbose: let TensorFlow, absl and Python warnings write what they like.

    Raises:
        UserError: the patched tree is not built, or TF1 behaviour is asked for.
    """
    if os.environ.get("ODAPI_TF_BEHAVIOR") == "1":
        raise UserError(
            "the odapi command works in TF2 behaviour only",
            at="environment variable ODAPI_TF_BEHAVIOR=1",
            hint="unset ODAPI_TF_BEHAVIOR; for TF1 graphs use object_detection/model_main.py",
        )
    if not verbose:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        logging.getLogger("tensorflow").setLevel(logging.ERROR)
        warnings.simplefilter("ignore")
    with _few_collections(), contextlib.nullcontext() if verbose else stderr_held_back():
        try:
            import object_detection  # noqa: F401
        except ModuleNotFoundError as error:
            if error.name != "object_detection":
                raise
            raise UserError(
                "the patched Object Detection API is not built",
                at=f"package object_detection, looked for by {sys.executable}",
                hint="./build.sh, then .venv/bin/odapi",
            ) from None
        import tensorflow as tf
        from absl import logging as absl_logging

        # The first look for a GPU is what complains of missing CUDA drivers.
        tf.config.list_physical_devices()
    if not verbose:
        absl_logging.set_verbosity(absl_logging.ERROR)


@contextlib.contextmanager
def _few_collections() -> Iterator[None]:
    """Keeps Python's garbage collector from looking at what an import makes, then and later.

    It is a million objects, none of which can go. With those of a graph it took a second and more
    of the start of training, and another at the end of each command. What is there when the modules
    are imported already is left alone: of a process that trains one model after the other, the
    models before would never be freed.
    """
    if "object_detection" in sys.modules:
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.set_threshold(10_000)
        gc.enable()


@contextlib.contextmanager
def stderr_held_back() -> Iterator[None]:
    """Keeps what is written to file descriptor 2, and shows it only if the block fails.

    TensorFlow's libraries log while they are loaded, before they read TF_CPP_MIN_LOG_LEVEL, so
    that no setting silences those lines.
    """
    sys.stderr.flush()
    original = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except UserError:
            raise
        except BaseException:
            kept.seek(0)
            os.write(original, kept.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(original, 2)
            os.close(original)
