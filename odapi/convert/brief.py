"""What `odapi convert` prints at its end: the facts of the report, and the next command."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from odapi.console.terminal import shown, shown_name
from odapi.convert import artefact, stages
from odapi.convert.plan import Unused
from odapi.convert.report import TransferReport
from odapi.convert.request import Request

_NOTES, _REASONS, _NAMES = 2, 2, 3
"""So many of each have their place here; the page has all."""
_NOTE_CHARACTERS = 200
_LABEL = 15


def lines(report: TransferReport, request: Request, to_fill_in: Sequence[str]) -> list[str]:
    """Some ten lines on a conversion that ended well.

    Args:
        report: on it.
        request: what was asked for.
        to_fill_in: what of the config the user has to look at before training.
    """
    output = request.output_dir
    config = output / artefact.CONFIG
    size = report.parity[0]
    worst = max(report.parity, key=lambda entry: entry.relative)
    rows = [
        (
            "converted",
            f"{report.origin}, for images of {size.height}x{size.width}, to {request.architecture} "
            f"({report.format.upper()} checkpoint)",
        ),
        ("cut", stages.described(report.stages)),
        ("preprocessing", report.preprocessing.removeprefix("preprocessing: ")),
        ("moved", report.summary()),
        (
            "parity",
            f"features of both on {worst.images} photographs differ by "
            f"{worst.max_abs_difference:.3g} at most, {worst.relative:.1e} of their range "
            f"(at {shown_name(worst.name)})",
        ),
        *(("left behind", text) for text in left_behind(report.unused)),
        *(("note", text) for text in _notes(report.remarks)),
        ("report", f"{output / artefact.PAGE}; --verbose prints every variable"),
    ]
    if to_fill_in:
        rows.append(("fill in", f"in {config}: {'; '.join(to_fill_in)}"))
    rows.append(("then" if to_fill_in else "next", _training(report.format, output)))
    return [f"{label:<{_LABEL}}{shown(text)}" for label, text in rows]


def left_behind(unused: Sequence[Unused], most: int = _REASONS) -> list[str]:
    """What stayed behind, a line for each of the first reasons and one for the others."""
    by_reason: dict[str, list[Unused]] = {}
    for layer in unused:
        by_reason.setdefault(layer.reason, []).append(layer)
    if not by_reason:
        return ["nothing"]
    groups = list(by_reason.items())
    if len(groups) > most:
        groups, others = groups[: most - 1], groups[most - 1 :]
        groups.append(("for other reasons", [layer for _, found in others for layer in found]))
    return [f"{_counted(layers)}: {reason} ({_named(layers)})" for reason, layers in groups]


def _counted(layers: Sequence[Unused]) -> str:
    parameters = sum(layer.parameters for layer in layers)
    return f"{len(layers)} layer{'s' * (len(layers) > 1)} of {parameters:,} parameters"


def _named(layers: Sequence[Unused]) -> str:
    names = ", ".join(shown_name(layer.layer) for layer in layers[:_NAMES])
    return names + (f" and {len(layers) - _NAMES} more" if len(layers) > _NAMES else "")


def _notes(notes: Sequence[str]) -> list[str]:
    texts = [shown(note, _NOTE_CHARACTERS) for note in notes]
    if len(texts) > _NOTES:
        return [*texts[: _NOTES - 1], f"and {len(texts) - _NOTES + 1} more, in the report"]
    return texts


def _training(checkpoint_format: str, output: Path) -> str:
    """The command that trains, in a folder beside the output, which convert replaces as a whole."""
    if output.name in ("", ".."):
        output = output.resolve()
    config, model_dir = str(output / artefact.CONFIG), f"{output}-training"
    if checkpoint_format == "tf1":
        command = ["python", "legacy/train.py", "--pipeline_config_path", config]
        return shlex.join([*command, "--train_dir", model_dir])
    return shlex.join(["odapi", "train", "--config", config, "--model_dir", model_dir])
