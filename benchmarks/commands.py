"""What a user waits for besides steps: commands from their start on, and their memory."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import patch_queue, project
from benchmarks.timing import Figures, in_folder, run_command

ODAPI = (sys.executable, "-m", "odapi")
STEPS = 10
"""Of training, for its memory."""
STARTS = 3
"""Of training, of which the median is told."""
EVALUATED = (32, 64, 96)
"""Images, for the time of an evaluation by their number."""


@in_folder
def commands(folder: Path) -> Figures:
    """Seconds and memory of commands, and of the parts of the start of training.

    Args:
        folder: for records and models.
    """
    config, image = project.write(folder)
    model = folder / "model"
    training = _train(config, model, STEPS)
    detection = run_command(
        *ODAPI,
        "predict",
        f"--config={config}",
        f"--checkpoint={model}",
        f"--output_dir={folder / 'found'}",
        image,
    )
    evaluation = _evaluate(config, model)
    imports = run_command(sys.executable, "-c", "import object_detection, tensorflow")
    # After `training`, which has the machine give the memory and the files that these take.
    phases = sorted((_phases(config, folder / "parts") for _ in range(STARTS)), key=_first_step)
    parts = phases[STARTS // 2]
    return {
        "case": "VGG-16, Faster R-CNN, 160x160, batch 2, momentum; records of 96x96",
        "import TensorFlow": imports,
        "train, to the end of step 1": {
            "seconds": round(_first_step(parts), 1),
            "peak MB": training["peak MB"],
        },
        "predict, one image": detection,
        f"evaluate {project.RECORDS} images": evaluation,
        "parts": parts,
    }


@in_folder
def evaluation(folder: Path) -> Figures:
    """Seconds of an evaluation by the number of images, of a small detector."""
    figures: Figures = {"case": "MobileNetV2, Faster R-CNN, 160x160, 300 proposals"}
    config, _ = project.write(folder, "MobileNetV2", records=EVALUATED[0])
    _train(config, folder / "model", 1)
    for images in EVALUATED:
        config, _ = project.write(folder, "MobileNetV2", records=images)
        figures[str(images)] = _evaluate(config, folder / "model")
    return figures


@in_folder
def build(folder: Path) -> Figures:
    """Seconds that the patched tree takes, and a build that has nothing to do."""
    queue = patch_queue.measure(folder)
    return {
        "tree from the archive": round(queue["apply, no tree yet"], 2),
        "git am of the same patches": round(queue["git am of the same patches"], 2),
        "./build.sh --no-validate, nothing to do": run_command("./build.sh", "--no-validate")[
            "seconds"
        ],
    }


def _phases(config: Path, model: Path) -> list[Any]:
    """[part, seconds, MB at its end] of each part of a training of two steps."""
    with tempfile.NamedTemporaryFile("r") as output:
        run_command(sys.executable, "-m", "benchmarks.phases", config, model, output.name)
        shutil.rmtree(model)
        return json.loads(output.read())


def _first_step(parts: list[Any]) -> float:
    """Seconds to the end of step 1."""
    return sum(seconds for _, seconds, _ in parts[:-1])


def _train(config: Path, model: Path, steps: int) -> Figures:
    paths = [f"--config={config}", f"--model_dir={model}"]
    return run_command(*ODAPI, "train", *paths, f"--num_train_steps={steps}")


def _evaluate(config: Path, model: Path) -> dict[str, Any]:
    return run_command(
        *ODAPI,
        "evaluate",
        f"--config={config}",
        f"--checkpoint={model}",
        f"--output_dir={model.with_name('evaluation')}",
    )
