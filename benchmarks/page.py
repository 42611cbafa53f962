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
finite. Detectors are as `odapi convert` configures them; those that detect are exported SavedModels
for images of any size, preprocessing and NMS included.
"""

GOALS = {
    "train VGG-16 608x1024": "≤ 1.05",
    "train VGG-16 160x160": "≤ 1.15",
}
COMMAND_GOALS = {"train, to the end of step 1": ("≤ 8 s", "≤ 2,300 MB")}
BFLOAT16_GOAL = "≥ 1.6"

OF_CLASSES = """\
What SSD on a small network takes above its floor to detect is mostly NMS, of each class by itself.
"""
WITHOUT = """\
The step of VGG-16 at 160x160 without one thing after the other. Its 137 million weights are read
for the loss of weight decay; they are read again and added to the gradients, which are then read
for their norm, and multiplied if that is too long, as it is here, where weights are random: 547 MB
are read or written seven times, where the layers have little to do for each weight. With larger
images or smaller networks that is less of a step.
"""
UPSTREAM = """\
## Beside upstream, and beside the tutorial's head

Upstream's tree without our patches has no train loop that runs; its model does, with the step of
that loop written down in `benchmarks/upstream.py`. *First* is from the start of the process to the
end of the first step or detection: upstream traces with AutoGraph. The head is the one of the
tutorial: 4,096 units at each of the 49 locations of a crop, 7.7 times the multiply-adds of VGG-16's
`fc1` and `fc2`.
"""
PARTS = """\
One run each, but for the start of training, which is the median of three after one that is not
counted. Part by part (`benchmarks/phases.py`): the first nine are the time to the end of step 1
above. The peak is that of ten steps.
"""
SHORTFALL = """\
Why it is not less:

- **Time.** TensorFlow's import is what it is. Every new page of memory is cleared by the kernel,
  which for the variables, the slots and the gradients takes about half a second each. The
  checkpoint of step 0 is copied to the page cache: 0.3 s where that has memory for it, 1.3 s where
  the host of a virtual machine has to give it first, which differs from one training to the next.
  The 4,600 operations of the step's graph are made by Python, at 0.25 ms each, and then optimised,
  placed and given kernels by TensorFlow, on one core. The step itself is in the last part but one.
- **Memory.** 137 million parameters are 547 MB, three times: variables, slots of momentum, and
  gradients, of which clipping needs all before the first is used. TensorFlow's libraries and
  Python's modules are {imports:,} MB of the peak. The rest is activations and crops (about 140 MB),
  the graph in Python, and what TensorFlow's allocator cannot use again because it is split.
"""
INPUT = """\
## Input

{case}.
Reading, decoding, resizing and padding alone give {alone:.0f} images/s on both cores. Training
takes {taken:.1f} of them a second, and a step waits {wait:.1f} ms of {step:.0f} for its batch.
"""


def text(figures: dict[str, Any]) -> str:
    """Returns the page."""
    sections = [INTRODUCTION, _machine(figures), _steps(figures), _parts(figures["parts"])]
    sections += [_upstream(figures["upstream"], figures["head"])]
    sections += [_sixteen(figures["bfloat16"], figures["accuracy"])]
    sections += [_commands(figures["commands"]), _input(figures["input"])]
    sections += [_growth(figures["growth"], figures["evaluation"]), _build(figures["build"])]
    return "\n".join(sections)


def _machine(figures: dict[str, Any]) -> str:
    machine = figures["machine"]
    flags = ", ".join(machine["flags"]) or "none of AVX2, AVX-512 and AMX"
    return (
        f"`python -m benchmarks.performance --write`, {machine['date']},\n"
        f"{figures['seconds']:,} s: {machine['cpu']} ({flags}),\n"
        f"{machine['cores']} cores, Python {machine['python']}, "
        f"TensorFlow {machine['tensorflow']}. Medians of up to 7 runs after one that is not\n"
        "counted; from one time to the next such a ratio differs by some hundredths.\n"
    )


def _steps(figures: dict[str, Any]) -> str:
    rows = [
        (
            f"{name.split()[0]}: {one['case']}",
            f"{one['floor']:.3g}",
            f"{one['detector']:.3g}",
            f"{one['ratio']:.2f}",
            GOALS.get(name, ""),
        )
        for name, one in figures.items()
        if isinstance(one, dict) and "detector" in one and "floor" in one and "ratio" in one
    ]
    head = ("work", "floor, s", "detector, s", "ratio", "goal")
    return "## Steps and detections\n\n" + _table(head, rows) + "\n" + OF_CLASSES


def _parts(parts: dict[str, Any]) -> str:
    rows = [
        (name, f"{seconds:.3f}", f"{seconds / parts['floor']:.2f}")
        for name, seconds in parts.items()
        if name != "case"
    ]
    return f"{WITHOUT}\n" + _table(("step", "seconds", "beside the floor"), rows)


def _upstream(upstream: dict[str, Any], head: dict[str, Any]) -> str:
    rows = [
        (
            f"{part}: {upstream['case']}",
            f"{one['ours']:.3g}",
            f"{one['upstream']:.3g}",
            f"{one['ratio']:.2f}",
            f"{one['first of ours']:.1f}",
            f"{one['first of upstream']:.1f}",
        )
        for part, one in upstream.items()
        if part != "case"
    ]
    rows.append(
        (
            f"train: {head['case']}; the other head",
            f"{head['ours']:.3g}",
            f"{head['upstream']:.3g}",
            f"{head['ratio']:.2f}",
            "",
            "",
        )
    )
    titles = ("work", "ours, s", "the other, s", "ratio", "first of ours, s", "of the other, s")
    return f"{UPSTREAM}\n" + _table(titles, rows)


def _sixteen(bfloat16: dict[str, Any], accuracy: dict[str, Any]) -> str:
    rows = [
        (
            side,
            f"{bfloat16[side]['float32']:.2f}",
            f"{bfloat16[side]['bfloat16']:.2f}",
            f"{bfloat16[side]['faster']:.2f}",
            BFLOAT16_GOAL if side == "detector" else "",
        )
        for side in ("detector", "floor")
    ]
    head = ("", "float32, s", "mixed_bfloat16, s", "times faster", "goal")
    precisions = [name for name in accuracy if name != "case"]
    scores = [
        (name, f"{accuracy[name]['AP']:.3f}", f"{accuracy[name]['AP@0.5']:.3f}")
        for name in precisions
    ]
    return (
        f"## 16 bits\n\nA training step: {bfloat16['case']}.\n\n{_table(head, rows)}\n"
        f"What it costs: {accuracy['case']}, on 200 scenes of digits that it has not seen.\n\n"
        + _table(("trained in", "AP", "AP@0.5"), scores)
    )


def _commands(commands: dict[str, Any]) -> str:
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
    parts = [(part, f"{seconds:.1f}", f"{held:,}") for part, seconds, held in commands["parts"]]
    shortfall = SHORTFALL.format(imports=commands["parts"][1][2])
    titles = ("part of training", "seconds", "memory at its end, MB")
    return "\n".join(
        [
            f"## From the command on\n\n{commands['case']}.\n",
            _table(head, rows),
            PARTS,
            _table(titles, parts),
            shortfall,
        ]
    )


def _input(figures: dict[str, Any]) -> str:
    return INPUT.format(
        case=figures["case"],
        alone=figures["images/s alone"],
        taken=figures["images/s in training"],
        wait=1000 * figures["wait of a step, s"],
        step=1000 * figures["step, s"],
    )


def _growth(growth: dict[str, Any], evaluation: dict[str, Any]) -> str:
    rows = [
        (name, f"{one['seconds']:.3g}", f"{one['ratio']:.2f}", f"{one['MB'] - growth['MB']:+,}")
        for name, one in growth.items()
        if isinstance(one, dict)
    ]
    head = ("what", "step, s", "times as long", "MB more")
    numbers = [name for name in evaluation if name != "case"]
    images = [
        (
            number,
            f"{evaluation[number]['seconds']:.1f}",
            f"{evaluation[number]['CPU seconds']:.1f}",
            f"{evaluation[number]['peak MB']:,}",
        )
        for number in numbers
    ]
    fewest, most = numbers[0], numbers[-1]
    each = (evaluation[most]["seconds"] - evaluation[fewest]["seconds"]) / (int(most) - int(fewest))
    return (
        f"## Growth\n\nA training step: {growth['case']}; {growth['MB']:,} MB.\n\n"
        f"{_table(head, rows)}\n"
        f"`odapi evaluate`: {evaluation['case']}. An image takes\n{1000 * each:.0f} ms, the start, "
        f"page and drawings {evaluation[fewest]['seconds'] - each * int(fewest):.0f} s.\n\n"
        + _table(("images", "seconds", "of CPU", "peak memory, MB"), images)
    )


def _build(build: dict[str, float]) -> str:
    rows = [(name, f"{seconds:.2f}") for name, seconds in build.items()]
    return (
        "## Building\n\nWith the archive in the cache; more in "
        "[patch_queue.md](../benchmarks/patch_queue.md).\n\n" + _table(("job", "seconds"), rows)
    )


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = tuple(head)
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
