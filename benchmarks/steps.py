"""Steps and detections beside their floor, and beside other ways to do the same."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

from benchmarks import detectors  # before TensorFlow: it settles Keras 2
from benchmarks.timing import Figures, alternate, worker


def training(backbone: str, side: tuple[int, int], batch: int, rois: int | None) -> Figures:
    """A training step beside its floor."""
    case = detectors.Case(backbone, *side, batch, rois)
    return {"case": f"{case}, {rois} RoIs" if rois else str(case)} | _beside_floor(
        detectors.training(case)
    )


def inference(
    backbone: str,
    side: tuple[int, int],
    batch: int,
    rois: int | None,
    classes: int = detectors.CLASSES,
) -> Figures:
    """Detection by an exported model beside its floor."""
    case = detectors.Case(backbone, *side, batch, rois, classes=classes)
    more = f"{case.proposals} proposals" if rois else f"classes: {classes}"
    return {"case": f"{case}, {more}"} | _beside_floor(detectors.inference(case))


def _beside_floor(pair: detectors.Pair) -> Figures:
    detector, floor = alternate(pair.detector, pair.floor)
    return {"detector": detector, "floor": floor, "ratio": round(detector / floor, 3)}


def parts() -> Figures:
    """A training step without one thing after the other, down to its floor."""
    case = detectors.Case("vgg16", 160, 160, 2, 32)
    pair = detectors.training(case)
    without = {f"without {name}": step for name, step in pair.without.items()}
    sides = {"whole": pair.detector, **without, "floor": pair.floor}
    seconds = alternate(*sides.values())
    return {"case": f"{case}, {case.rois} RoIs"} | dict(zip(sides, seconds, strict=True))


def heads() -> Figures:
    """A training step with the paper's second stage beside one with the tutorial's."""
    case = detectors.Case("vgg16", 160, 160, 2, 32)
    flat = detectors.training(case).detector
    per_location = detectors.training(case, detectors.per_location_head).detector
    ours, theirs = alternate(flat, per_location)
    return {
        "case": f"{case}, {case.rois} RoIs",
        "ours": ours,
        "upstream": theirs,
        "ratio": round(ours / theirs, 3),
    }


def bfloat16() -> Figures:
    """A training step in float32 beside one in bfloat16."""
    import tensorflow as tf

    case = detectors.Case("vgg16", 320, 320, 2, 64)
    pairs = {}
    for policy in ("float32", "mixed_bfloat16"):
        tf.keras.mixed_precision.set_global_policy(policy)
        pairs[policy] = detectors.training(case)
    tf.keras.mixed_precision.set_global_policy("float32")
    result: Figures = {"case": str(case)}
    for side in ("detector", "floor"):
        steps = [getattr(pairs[policy], side) for policy in ("float32", "mixed_bfloat16")]
        slow, fast = alternate(*steps)
        result[side] = {"float32": slow, "bfloat16": fast, "faster": round(slow / fast, 2)}
    return result


def growth() -> Figures:
    """Seconds and memory of a step as one thing doubles, of a small detector."""
    base = detectors.Case("MobileNetV2", 320, 320, 2, 64)
    changes = {
        "area": replace(base, width=2 * base.width),
        "batch": replace(base, batch=2 * base.batch),
        "proposals": replace(base, proposals=2 * base.proposals),
        "classes": replace(base, classes=2 * base.classes),
    }
    # Each in its own process, whose peak memory is that of one detector.
    module = ["-m", "benchmarks.detectors"]
    with worker(*module, json.dumps(asdict(base))) as step:
        step()
        result: Figures = {
            "case": f"{base}, {base.rois} RoIs, {base.proposals} proposals",
            "MB": step.peak_memory,
        }
        for name, case in changes.items():
            with worker(*module, json.dumps(asdict(case))) as other:
                before, after = alternate(step, other)
                result[f"{name} doubled"] = {
                    "seconds": after,
                    "ratio": round(after / before, 2),
                    "MB": other.peak_memory,
                }
    return result
