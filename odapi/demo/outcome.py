"""What the phases of the demo left, as its report shows it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from odapi.convert.report import Status, TransferReport
from odapi.demo.report import DetectorResult, TransferSummary
from odapi.evaluate.result import EvaluationResult
from odapi.train import TOTAL_LOSS


def outcome(result: DetectorResult) -> str:
    """AP@0.5 in words: of boxes, and of masks if there are any."""
    if result.mask_coco is None:
        return f"{result.ap50:.3f}"
    return f"boxes {result.ap50:.3f} and masks {result.mask_ap50:.3f}"


def detector_result(log: Path, evaluation: EvaluationResult) -> DetectorResult:
    """A run's losses, from its `train_log.jsonl`, and how good its detector is."""
    masks = evaluation.mask_metrics
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    return DetectorResult(
        steps=[entry["step"] for entry in entries],
        losses=[entry["losses"][TOTAL_LOSS] for entry in entries],
        coco=[_number(value) for value in evaluation.metrics.values()],
        class_ap={
            entry.name: (_number(entry.ap), _number(entry.ap50)) for entry in evaluation.per_class
        },
        precision={
            entry.name: entry.precision for entry in evaluation.per_class if entry.precision
        },
        mask_coco=[_number(value) for value in masks.values()] if masks else None,
    )


def _number(value: float | None) -> float:
    """Pycocotools' own sign for what was not measured, in place of None."""
    return -1.0 if value is None else value


def transfer_summary(report: TransferReport) -> TransferSummary:
    """The variables of the report by block, with what became of each block."""
    groups: dict[tuple[str, Status], list[int]] = {}
    for entry in report.variables:
        block = entry.target.split("/")[0].split("_")[0]
        groups.setdefault((block, entry.status), []).append(int(np.prod(entry.shape)))
    return TransferSummary(
        coverage=report.coverage / 100,
        parity=max(parity.relative for parity in report.parity),
        rows=[
            (block, len(sizes), sum(sizes), status.value)
            for (block, status), sizes in groups.items()
        ],
    )
