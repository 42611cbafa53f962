"""docs/performance.md, from the figures of benchmarks.performance."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

INTRODUCTION = """\
# Performance

What a detector costs beside its *floor*: all of its layers, and nothing between them. Both sides
are one `tf.function` over the same Keras layers and variables, on as many pixels and RoIs, and take
turns in one process. What is above the floor is what the Object Detection API adds: anchors,
proposals, crops, targets, sampling, losses, weight decay, clipping, the look for what is not
finite. Detectors are as `odapi convert` configures them.
"""

GOALS = {
    "train VGG-16 608x1024": "≤ 1.05",
    "train VGG-16 160x160": "≤ 1.15",
}
COMMAND_GOALS = {"train, to the end of step 1": ("≤ 8 s", "≤ 2,300 MB")}
BFLOAT16_GOAL = "≥ 1.6"


def text(figures: dict[str, Any]) -> str:
    """Returns the page."""
    machine = figures["machine"]
    flags = ", ".join(machine["flags"]) or "none of AVX2, AVX-512 and AMX"
    sections = [
        INTRODUCTION,
        f"`python -m benchmarks.performance --write`, {machine['date']}, {figures['seconds']:,} s: "
        f"{machine['cpu']} ({flags}), {machine['cores']} cores, Python {machine['python']}, "
        f"TensorFlow {machine['tensorflow']}. Medians of up to 7 runs after one that is not "
        "counted.\n",
    ]
    if steps := [(name, one) for name, one in figures.items() if "ratio" in _as_dict(one)]:
        rows = [
            (
                f"{name.split()[0]}: {one['case']}",
                f"{one['floor']:.2f}",
                f"{one['detector']:.2f}",
                f"{one['ratio']:.2f}",
                GOALS.get(name, ""),
            )
            for name, one in steps
        ]
        head = ("work", "floor, s", "detector, s", "ratio", "goal")
        sections += ["## Steps and detections\n", _table(head, rows)]
    if sixteen := figures.get("bfloat16"):
        rows = [
            (
                side,
                f"{sixteen[side]['float32']:.2f}",
                f"{sixteen[side]['bfloat16']:.2f}",
                f"{sixteen[side]['faster']:.2f}",
                BFLOAT16_GOAL if side == "detector" else "",
            )
            for side in ("detector", "floor")
        ]
        head = ("", "float32, s", "mixed_bfloat16, s", "times faster", "goal")
        sections += [f"## 16 bits\n\nA training step: {sixteen['case']}.\n", _table(head, rows)]
    if commands := figures.get("commands"):
        rows = [
            (
                name,
                f"{one['seconds']:.1f}",
                f"{one['peak MB']:,}",
                ", ".join(COMMAND_GOALS.get(name, ())),
            )
            for name, one in commands.items()
            if name != "case"
        ]
        head = ("command", "seconds", "peak memory, MB", "goal")
        sections += [f"## From the command on\n\n{commands['case']}.\n", _table(head, rows)]
    if growth := figures.get("growth"):
        rows = [
            (name, f"{one['seconds']:.2f}", f"{one['ratio']:.2f}")
            for name, one in growth.items()
            if name != "case"
        ]
        head = ("what", "step, s", "times as long")
        sections += [f"## Growth\n\nA training step: {growth['case']}.\n", _table(head, rows)]
    return "\n".join(sections)


def _as_dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = tuple(head)
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
