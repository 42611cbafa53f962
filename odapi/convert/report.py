"""The transfer report: what arrived in the detector, what did not, and what stayed behind."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from math import prod
from pathlib import Path

from odapi.convert.parity import Parity
from odapi.convert.vgg16 import BACKBONE_PARAMETERS, CONVOLUTIONS, Unused


class Status(StrEnum):
    """What became of a variable of the detector."""

    MOVED = "moved"
    """It holds the classifier's values after training's restore."""
    FRESH = "fresh"
    """It was meant to start from fresh values, and does."""
    MISSING = "missing"
    """It holds something else than it should."""


@dataclass(frozen=True)
class Variable:
    """A variable of the detector; hashes are `restore.fingerprint`s."""

    target: str
    source: str | None
    """Variable of the classifier; None for fresh values."""
    matched_by: str | None
    """`name`, or `order` where the classifier's layer has another name; None for fresh values."""
    shape: tuple[int, ...]
    hash_before: str | None
    """Of the detector as it was built."""
    hash_source: str | None
    """Of the classifier, or of the fresh values in the checkpoint; None if it has none."""
    hash_after: str | None
    """Of the detector after training's restore; None if that leaves the variable alone."""
    status: Status


@dataclass(frozen=True)
class TransferReport:
    """Everything `odapi convert` found out."""

    origin: str
    format: str
    variables: tuple[Variable, ...]
    unused: tuple[Unused, ...]
    parity: Parity
    notes: tuple[str, ...]

    @property
    def coverage(self) -> float:
        """Per cent of the backbone's parameters that moved; 100 only if all did."""
        moved = sum(
            prod(variable.shape)
            for variable in self.variables
            if variable.status is Status.MOVED and _layer(variable) in CONVOLUTIONS
        )
        return 100 * moved / BACKBONE_PARAMETERS

    @property
    def convolutions_moved(self) -> int:
        return sum(self._has(name, Status.MOVED) for name in CONVOLUTIONS)

    @property
    def fully_connected(self) -> Status:
        """What became of fc1 and fc2 together."""
        for status in (Status.MOVED, Status.FRESH):
            if self._has("fc1", status) and self._has("fc2", status):
                return status
        return Status.MISSING

    def faults(self) -> list[str]:
        """Why the report is red; empty if it is not."""
        found = []
        if missing := [entry.target for entry in self.variables if entry.status is Status.MISSING]:
            found.append(
                f"{len(missing)} of {len(self.variables)} variables did not arrive, "
                f"the first {missing[0]} ({self.coverage:.4g} % of the backbone did)"
            )
        if not self.parity.passed:
            found.append(
                f"features differ by {self.parity.relative:.1e} of their range, "
                f"more than {self.parity.tolerance:.0e}"
            )
        return found

    def summary(self) -> str:
        """One line for the end of the command."""
        return (
            f"{self.convolutions_moved} of {len(CONVOLUTIONS)} convolutions moved, "
            f"fc1/fc2 {self.fully_connected}, {self.coverage:.4g} % of the backbone, "
            f"parity {self.parity.relative:.1e} of the range"
        )

    def table(self) -> str:
        """The report for people: a row per variable, then what was not used, then parity."""
        rows = [("detector", "classifier", "shape", "before", "source", "after", "status")]
        rows += [
            (
                entry.target,
                (entry.source or "-") + (" (by order)" if entry.matched_by == "order" else ""),
                "x".join(map(str, entry.shape)),
                *(_short(h) for h in (entry.hash_before, entry.hash_source, entry.hash_after)),
                entry.status.value,
            )
            for entry in self.variables
        ]
        lines = _aligned(rows)
        lines += ["", "not used from the classifier:"]
        lines += _aligned(
            ("  " + layer.layer, layer.type, f"{layer.parameters:,}", layer.reason)
            for layer in self.unused
        ) or ["  nothing"]
        lines += ["", *(f"note: {note}" for note in self.notes)]
        parity = self.parity
        lines.append(
            f"parity at block5_conv3 on {parity.images} images of {parity.height}x{parity.width}, "
            f"classifier's side through {parity.preprocessing}: largest difference "
            f"{parity.max_abs_difference:.3g} in a range of {parity.feature_range:.4g}"
        )
        return "\n".join(lines)

    def write(self, path: Path) -> None:
        """Writes the report as JSON."""
        content = asdict(self)
        content["coverage"] = self.coverage
        content["convolutions_moved"] = self.convolutions_moved
        content["fully_connected"] = self.fully_connected
        content["backbone_parameters"] = BACKBONE_PARAMETERS
        content["parity"] |= {"relative": self.parity.relative, "passed": self.parity.passed}
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    def _has(self, layer: str, status: Status) -> bool:
        return all(entry.status is status for entry in self.variables if _layer(entry) == layer)


def _layer(variable: Variable) -> str:
    return variable.target.split("/")[0]


def _short(fingerprint: str | None) -> str:
    return fingerprint[:8] if fingerprint else "-"


def _aligned(rows: Iterable[Sequence[str]]) -> list[str]:
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
