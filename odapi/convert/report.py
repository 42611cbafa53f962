"""The transfer report: what arrived in the detector, what did not, and what stayed behind."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from math import prod
from pathlib import Path

from odapi.console.terminal import shown
from odapi.convert.parity import Parity
from odapi.convert.plan import Unused
from odapi.convert.stages import Stage, note

COLUMNS = ("detector", "classifier", "shape", "before", "source", "after", "status")
"""Of the table of variables."""


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

    def cells(self) -> tuple[str, ...]:
        """Its row in a table of `COLUMNS`; hashes are short."""
        return (
            self.target,
            (self.source or "-") + (" (by order)" if self.matched_by == "order" else ""),
            "x".join(map(str, self.shape)),
            *(_short(h) for h in (self.hash_before, self.hash_source, self.hash_after)),
            self.status.value,
        )


@dataclass(frozen=True)
class TransferReport:
    """Everything `odapi convert` found out."""

    origin: str
    format: str
    variables: tuple[Variable, ...]
    unused: tuple[Unused, ...]
    parity: tuple[Parity, ...]
    notes: tuple[str, ...]
    """All of them, `preprocessing` and that of the stages included."""
    preprocessing: str = ""
    """The note on it."""
    stages: tuple[Stage, ...] = ()
    """The classifier's layers as the detector takes them."""

    @property
    def remarks(self) -> tuple[str, ...]:
        """The notes on something else than cut and preprocessing, which every report has."""
        return tuple(
            entry for entry in self.notes if entry not in (self.preprocessing, note(self.stages))
        )

    @property
    def coverage(self) -> float:
        """Per cent of the backbone's parameters that moved; 100 only if all did.

        Not counted are those that were meant to start fresh.
        """
        backbone = self._parameters(Status.MOVED) + self._parameters(Status.MISSING)
        return 100 * self._parameters(Status.MOVED) / backbone if backbone else 0.0

    @property
    def moved(self) -> int:
        """Variables that moved."""
        return sum(entry.status is Status.MOVED for entry in self.variables)

    def faults(self) -> list[str]:
        """Why the report is red; empty if it is not."""
        found = []
        if missing := [entry.target for entry in self.variables if entry.status is Status.MISSING]:
            found.append(
                f"{len(missing)} of {len(self.variables)} variables did not arrive, "
                f"the first {missing[0]} ({self.coverage:.4g} % of the backbone did)"
            )
        found += [
            f"features differ by {parity.relative:.1e} of their range at {parity.name}, "
            f"more than {parity.tolerance:.0e}"
            for parity in self.parity
            if not parity.passed
        ]
        return found

    def summary(self) -> str:
        """What moved, in a few words."""
        fresh = sum(entry.status is Status.FRESH for entry in self.variables)
        return (
            f"{self.moved} variables of {self._parameters(Status.MOVED):,} parameters, "
            f"{self.coverage:.4g} % of the backbone" + (f"; {fresh} start fresh" if fresh else "")
        )

    def missing(self) -> str:
        """A row for each variable that did not arrive; empty if all did."""
        lost = [entry.cells() for entry in self.variables if entry.status is Status.MISSING]
        return "\n".join(_aligned([COLUMNS, *lost])) if lost else ""

    def table(self) -> str:
        """All of it: a row per variable, then what was not used, then parity."""
        lines = _aligned([COLUMNS, *(entry.cells() for entry in self.variables)])
        lines += ["", "not used from the classifier:"]
        lines += _aligned(
            ("  " + layer.layer, layer.type, f"{layer.parameters:,}", layer.reason)
            for layer in self.unused
        ) or ["  nothing"]
        lines += ["", *(f"note: {shown(note)}" for note in self.notes)]
        lines += [
            f"parity at {shown(parity.name)} on {parity.images} images of "
            f"{parity.height}x{parity.width}, "
            f"classifier's side through {shown(parity.preprocessing)}: largest difference "
            f"{parity.max_abs_difference:.3g} in a range of {parity.feature_range:.4g}"
            for parity in self.parity
        ]
        return "\n".join(lines)

    def write(self, path: Path) -> None:
        """Writes the report as JSON."""
        content = asdict(self)
        content["coverage"] = self.coverage
        content["moved"] = self.moved
        content["moved_parameters"] = self._parameters(Status.MOVED)
        for entry, parity in zip(content["parity"], self.parity, strict=True):
            entry |= {"relative": parity.relative, "passed": parity.passed}
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    def _parameters(self, status: Status) -> int:
        return sum(prod(entry.shape) for entry in self.variables if entry.status is status)


def _short(fingerprint: str | None) -> str:
    return fingerprint[:8] if fingerprint else "-"


def _aligned(rows: Iterable[Sequence[str]]) -> list[str]:
    rows = [[shown(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
