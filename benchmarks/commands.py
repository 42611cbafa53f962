"""What a user waits for besides steps: commands from their start on, and their memory."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import patch_queue, project
from benchmarks.timing import Figures, in_folder, run_command

ODAPI = (sys.executable, "-m", "odapi")
STEPS = 10
"""Of training, for its memory."""
EVALUATED = (32, 64, 128)
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
        f"--pipeline_config_path={config}",
        f"--checkpoint_dir={model}",
        f"--output_directory={folder / 'found'}",
        image,
    )
    evaluation = _evaluate(config, model)
    imports = run_command(sys.executable, "-c", "import object_detection, tensorflow")
    with tempfile.NamedTemporaryFile("r") as parts:
        run_command(sys.executable, "-m", "benchmarks.phases", config, folder / "parts", parts.name)
        phases = json.loads(parts.read())
    first = sum(seconds for _, seconds, _ in phases[:-1])
    return {
        "case": "VGG-16, Faster R-CNN, 160x160, batch 2, momentum; records of 96x96",
        "import TensorFlow": imports,
        "train, to the end of step 1": {
            "seconds": round(first, 1),
            "peak MB": training["peak MB"],
        },
        "predict, one image": detection,
        f"evaluate {project.RECORDS} images": evaluation,
        "parts": phases,
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


def _train(config: Path, model: Path, steps: int) -> Figures:
    paths = [f"--pipeline_config_path={config}", f"--model_dir={model}"]
    return run_command(*ODAPI, "train", *paths, f"--num_train_steps={steps}")


def _evaluate(config: Path, model: Path) -> dict[str, Any]:
    return run_command(
        *ODAPI,
        "evaluate",
        f"--pipeline_config_path={config}",
        f"--checkpoint_dir={model}",
        f"--output_dir={model.with_name('evaluation')}",
    )
