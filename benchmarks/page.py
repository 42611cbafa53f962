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


PARTS = """\
One run each; the goals of time and memory are missed. The start of training, part by part, in a run
of its own (`benchmarks/phases.py`): the first nine parts are the time to the end of step 1 above.
The peak is that of ten steps.
"""
MEMORY = """\
Of the memory, 137 million parameters take 547 MB four times: the variables, the slots of momentum,
the gradients, and the gradients of the weight decay, which TensorFlow computes at the start of a
step and holds until the others are there to be added. Without weight decay the same training stays
below 2,720 MB (`add_regularization_loss: false`; figure of 2026-11-24). The initial values leave
about 300 MB with TensorFlow's allocator, which returns nothing. Of the time, the import of
TensorFlow, the random values, 1.1 GB of checkpoint and the second step itself are what they are;
two seconds of Python build the graph of the step.
"""


def text(figures: dict[str, Any]) -> str:
    """Returns the page."""
    machine = figures["machine"]
    flags = ", ".join(machine["flags"]) or "none of AVX2, AVX-512 and AMX"
    sections = [
        INTRODUCTION,
        f"`python -m benchmarks.performance --write`, {machine['date']},\n"
        f"{figures['seconds']:,} s: {machine['cpu']} ({flags}), "
        f"{machine['cores']} cores, Python {machine['python']},\n"
        f"TensorFlow {machine['tensorflow']}. Medians of up to 7 runs after one that is not "
        "counted;\nfrom one time to the next such a ratio differs by 0.1.\n",
    ]
    if steps := [(name, one) for name, one in figures.items() if "ratio" in _as_dict(one)]:
        rows = [
            (
                f"{name.split()[0]}: {one['case']}",
                f"{one['floor']:.3g}",
                f"{one['detector']:.3g}",
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
                f"{one['CPU seconds']:.1f}" if "CPU seconds" in one else "",
                f"{one['peak MB']:,}",
                ", ".join(COMMAND_GOALS.get(name, ())),
            )
            for name, one in commands.items()
            if isinstance(one, dict)
        ]
        head = ("command", "seconds", "of CPU", "peak memory, MB", "goal")
        sections += [f"## From the command on\n\n{commands['case']}.\n", _table(head, rows)]
        rows = [(part, f"{seconds:.1f}", f"{held:,}") for part, seconds, held in commands["parts"]]
        head = ("part of training", "seconds", "memory at its end, MB")
        sections += [PARTS, _table(head, rows), MEMORY]
    if growth := figures.get("growth"):
        rows = [
            (name, f"{one['seconds']:.3g}", f"{one['ratio']:.2f}")
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
