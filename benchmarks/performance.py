"""What a detector costs beyond its layers: training, inference, start-up, memory, growth.

    python -m benchmarks.performance [--only NAME ...] [--write]

Steps and detections are measured beside something else in one process, alternating: medians of
several runs after one that is not counted. Commands are timed once. --write, which needs all of the
measurements, puts the table into docs/performance.md and the figures into
benchmarks/performance.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[1]
RUNS = 7
"""Of each side, or fewer, so that one measurement ends in about LONGEST."""
LONGEST = 60.0
"""Seconds."""
Figures = dict[str, Any]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=MEASUREMENTS, default=list(MEASUREMENTS))
    parser.add_argument("--here", action="store_true", help="in this process, and print JSON")
    parser.add_argument("--write", action="store_true", help="write docs/performance.md")
    options = parser.parse_args()
    if options.write and options.only != list(MEASUREMENTS):
        parser.error("--write needs all measurements")
    if options.here:
        (name,) = options.only
        print(json.dumps(MEASUREMENTS[name]()))
        return
    began = time.monotonic()
    figures = {"machine": _machine()}
    for name in options.only:
        figures[name] = _in_own_process(name)
        print(f"{name}: {json.dumps(figures[name], ensure_ascii=False)}", flush=True)
    figures["seconds"] = round(time.monotonic() - began)
    if options.write:
        text = json.dumps(figures, indent=2, ensure_ascii=False) + "\n"
        Path(__file__).with_suffix(".json").write_text(text, "utf-8")
        from benchmarks import page

        (ROOT / "docs/performance.md").write_text(page.text(figures), "utf-8")


def training(backbone: str, side: tuple[int, int], batch: int, rois: int | None) -> Figures:
    """A training step beside its floor."""
    from benchmarks import detectors

    case = detectors.Case(backbone, *side, batch, rois)
    return {"case": f"{case}, {rois} RoIs" if rois else str(case)} | _side_by_side(
        detectors.training(case)
    )


def inference(backbone: str, side: tuple[int, int], batch: int, rois: int | None) -> Figures:
    """Detection beside its floor."""
    from benchmarks import detectors

    case = detectors.Case(backbone, *side, batch, rois)
    return {"case": f"{case}, {case.proposals} proposals" if rois else str(case)} | _side_by_side(
        detectors.inference(case)
    )


def bfloat16() -> Figures:
    """A training step in float32 beside one in bfloat16."""
    import tensorflow as tf

    from benchmarks import detectors

    case = detectors.Case("vgg16", 320, 320, 2, 64)
    pairs = {}
    for policy in ("float32", "mixed_bfloat16"):
        tf.keras.mixed_precision.set_global_policy(policy)
        pairs[policy] = detectors.training(case)
    tf.keras.mixed_precision.set_global_policy("float32")
    result: Figures = {"case": str(case)}
    for side in ("detector", "floor"):
        steps = [getattr(pairs[policy], side) for policy in ("float32", "mixed_bfloat16")]
        slow, fast = _alternate(*steps)
        result[side] = {"float32": slow, "bfloat16": fast, "faster": round(slow / fast, 2)}
    return result


def growth() -> Figures:
    """Seconds of a step as one thing doubles, of a small detector."""
    from dataclasses import replace

    from benchmarks import detectors

    base = detectors.Case("MobileNetV2", 128, 128, 1, 32, proposals=100)
    changes = {
        "area": replace(base, width=256),
        "batch": replace(base, batch=2),
        "proposals": replace(base, proposals=200),
        "classes": replace(base, classes=2 * base.classes),
    }
    first = detectors.training(base).detector
    result: Figures = {"case": str(base)}
    for name, case in changes.items():
        before, after = _alternate(first, detectors.training(case).detector)
        result[f"{name} doubled"] = {"seconds": after, "ratio": round(after / before, 2)}
    return result


def commands() -> Figures:
    """Seconds and memory of commands, and of the parts of the start of training."""
    with tempfile.TemporaryDirectory() as folder:
        return _commands(Path(folder))


def _commands(folder: Path) -> Figures:
    from benchmarks import project

    config, image = project.write(folder)
    odapi = [sys.executable, "-m", "odapi"]
    model = folder / "model"
    training = _run(
        *odapi,
        "train",
        f"--pipeline_config_path={config}",
        f"--model_dir={model}",
        "--num_train_steps=10",
    )
    detection = _run(
        *odapi,
        "predict",
        f"--pipeline_config_path={config}",
        f"--checkpoint_dir={model}",
        f"--output_directory={folder / 'found'}",
        str(image),
    )
    evaluation = _run(
        *odapi,
        "evaluate",
        f"--pipeline_config_path={config}",
        f"--checkpoint_dir={model}",
        f"--output_dir={folder / 'evaluation'}",
    )
    imports = _run(sys.executable, "-c", "import object_detection, tensorflow")
    phases = [sys.executable, "-m", "benchmarks.phases", config, folder / "model_of_parts"]
    output = subprocess.run(phases, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    parts = json.loads(output.splitlines()[-1])
    return {
        "case": "VGG-16, Faster R-CNN, 160x160, batch 2, momentum; records of 96x96",
        "import TensorFlow": imports,
        "train, to the end of step 1": {
            "seconds": round(sum(seconds for _, seconds, _ in parts[:-1]), 1),
            "peak MB": training["peak MB"],
        },
        "predict, one image": detection,
        f"evaluate {project.RECORDS} images": evaluation,
        "parts": parts,
    }


def _run(*command: str) -> Figures:
    # A file, because a full pipe would stop the command.
    with tempfile.TemporaryFile("w+") as output:
        return _watch(command, output)


def _watch(command: tuple[str, ...], output: IO[str]) -> Figures:
    began, before = time.monotonic(), os.times()
    process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
    status = Path(f"/proc/{process.pid}/status")
    peak = 0
    while process.poll() is None:
        # Its own peak: what wait4 tells is at least the memory of the process that started it.
        for line in status.read_text().splitlines() if status.exists() else ():
            if line.startswith("VmHWM:"):
                peak = max(peak, int(line.split()[1]))
        time.sleep(0.05)
    if process.returncode:
        output.seek(0)
        raise SystemExit(f"error: {' '.join(command)}: {output.read()}")
    after = os.times()
    cpu = sum(after[2:4]) - sum(before[2:4])
    return {
        "seconds": round(time.monotonic() - began, 1),
        "CPU seconds": round(cpu, 1),
        "peak MB": round(peak * 1024 / 1e6),
    }


def _side_by_side(pair: Any) -> Figures:
    detector, floor = _alternate(pair.detector, pair.floor)
    return {"detector": detector, "floor": floor, "ratio": round(detector / floor, 3)}


def _alternate(*sides: Callable[[], object]) -> list[float]:
    """Median seconds of each side."""
    times: list[list[float]] = [[] for _ in sides]
    for side in sides:
        side()
    began = time.perf_counter()
    for run in range(RUNS):
        for side, seconds in zip(sides, times, strict=True):
            start = time.perf_counter()
            side()
            seconds.append(time.perf_counter() - start)
        if run >= 2 and time.perf_counter() - began > LONGEST:
            break
    return [round(statistics.median(seconds), 4) for seconds in times]


def _in_own_process(name: str) -> Figures:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.performance", "--here", "--only", name],
        cwd=ROOT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"error: {name} could not be measured\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _machine() -> Figures:
    cpu = Path("/proc/cpuinfo").read_text()
    model = next(line.split(":")[1] for line in cpu.splitlines() if line.startswith("model name"))
    try:
        tensorflow = metadata.version("tensorflow-cpu")
    except metadata.PackageNotFoundError:
        tensorflow = metadata.version("tensorflow")
    flags = {"avx2", "avx512f", "avx512_bf16", "amx_bf16"} & set(cpu.split())
    return {
        "date": str(date.today()),
        "cpu": model.strip(),
        "flags": sorted(flags),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "tensorflow": tensorflow,
    }


MEASUREMENTS: dict[str, Callable[[], Figures]] = {
    "train VGG-16 608x1024": lambda: training("vgg16", (608, 1024), 1, 64),
    "train VGG-16 320x320": lambda: training("vgg16", (320, 320), 2, 64),
    "train VGG-16 160x160": lambda: training("vgg16", (160, 160), 2, 32),
    "train ResNet50 320x320": lambda: training("ResNet50", (320, 320), 2, 64),
    "train MobileNetV2 320x320": lambda: training("MobileNetV2", (320, 320), 2, 64),
    "train SSD MobileNetV2 320x320": lambda: training("MobileNetV2", (320, 320), 2, None),
    "train SSD ResNet50 320x320": lambda: training("ResNet50", (320, 320), 2, None),
    "detect VGG-16 608x1024": lambda: inference("vgg16", (608, 1024), 1, 64),
    "detect VGG-16 320x320, batch 4": lambda: inference("vgg16", (320, 320), 4, 64),
    "detect SSD MobileNetV2 320x320": lambda: inference("MobileNetV2", (320, 320), 1, None),
    "bfloat16": bfloat16,
    "commands": commands,
    "growth": growth,
}


if __name__ == "__main__":
    main()
