"""What detectors cost, side by side with what cannot be saved.

    python -m benchmarks.performance [--only NAME ...] [--write]

Each measurement runs in a process of its own. In it, two sides take turns, and medians are compared
after a first run that is not counted. Commands are timed once. --write, which needs all of the
measurements, puts the table into docs/performance.md and the figures into
benchmarks/performance.json.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from importlib import metadata
from pathlib import Path

from benchmarks.timing import ROOT, Figures


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
    figures: Figures = {"machine": _machine()}
    for name in options.only:
        figures[name] = _in_own_process(name)
        print(f"{name}: {json.dumps(figures[name], ensure_ascii=False)}", flush=True)
    figures["seconds"] = round(time.monotonic() - began)
    if options.write:
        text = json.dumps(figures, indent=2, ensure_ascii=False) + "\n"
        Path(__file__).with_suffix(".json").write_text(text, "utf-8")
        from benchmarks import page

        (ROOT / "docs/performance.md").write_text(page.text(figures), "utf-8")


def _of(module: str, function: str, *arguments: object) -> Callable[[], Figures]:
    """A measurement, whose module is imported when it runs."""
    return lambda: getattr(importlib.import_module(f"benchmarks.{module}"), function)(*arguments)


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
    "train VGG-16 608x1024": _of("steps", "training", "vgg16", (608, 1024), 1, 64),
    "train VGG-16 320x320": _of("steps", "training", "vgg16", (320, 320), 2, 64),
    "train VGG-16 160x160": _of("steps", "training", "vgg16", (160, 160), 2, 32),
    "train ResNet50 320x320": _of("steps", "training", "ResNet50", (320, 320), 2, 64),
    "train MobileNetV2 320x320": _of("steps", "training", "MobileNetV2", (320, 320), 2, 64),
    "train SSD MobileNetV2 320x320": _of("steps", "training", "MobileNetV2", (320, 320), 2, None),
    "train SSD ResNet50 320x320": _of("steps", "training", "ResNet50", (320, 320), 2, None),
    "detect VGG-16 608x1024": _of("steps", "inference", "vgg16", (608, 1024), 1, 64),
    "detect VGG-16 320x320, batch 4": _of("steps", "inference", "vgg16", (320, 320), 4, 64),
    "detect ResNet50 320x320": _of("steps", "inference", "ResNet50", (320, 320), 1, 64),
    "detect SSD MobileNetV2 320x320": _of("steps", "inference", "MobileNetV2", (320, 320), 1, None),
    "detect SSD MobileNetV2 320x320, one class": _of(
        "steps", "inference", "MobileNetV2", (320, 320), 1, None, 1
    ),
    "parts": _of("steps", "parts"),
    "upstream": _of("upstream", "compare"),
    "head": _of("steps", "heads"),
    "bfloat16": _of("steps", "bfloat16"),
    "accuracy": _of("accuracy", "of_precisions"),
    "commands": _of("commands", "commands"),
    "input": _of("input", "input_pipeline"),
    "growth": _of("steps", "growth"),
    "evaluation": _of("commands", "evaluation"),
    "build": _of("commands", "build"),
}


if __name__ == "__main__":
    main()
