"""What 16 bits cost in accuracy: two detectors of digits, alike but for the precision."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.timing import Figures, in_folder

SCENES = {"train": 600, "test": 200}
STEPS = 500
PRECISIONS = ("float32", "mixed_bfloat16")


@in_folder
def of_precisions(folder: Path) -> Figures:
    """AP of a detector trained in float32, and in bfloat16.

    The demo's small classifier, in fewer epochs, and its detector in fewer steps. Both are
    evaluated in float32, on scenes of digits that neither has seen.

    Args:
        folder: for records and models.
    """
    from odapi.convert import recipes, request, transfer
    from odapi.convert.artefact import CONFIG
    from odapi.demo import classifier, detectors
    from odapi.evaluate.options import EvaluateOptions
    from odapi.evaluate.run import evaluate
    from odapi.pipeline.config import load
    from odapi.train import TrainOptions, train

    label_map = folder / "label_map.pbtxt"
    parts = _draw(folder, label_map)
    recipe = classifier.RECIPES["small"]
    stages = tuple((size, -(-epochs // 3)) for size, epochs in recipe.stages)
    model, _ = classifier.train_classifier(
        parts["train"], parts["test"], replace(recipe, stages=stages), say=lambda _: None
    )
    model.save(folder / "classifier.keras")
    transfer.convert(
        request.Request(
            source=str(folder / "classifier.keras"),
            output_dir=folder / "converted",
            architecture=request.Architecture.FASTER_RCNN,
            preprocessing=recipe.preprocessing,
            label_map=str(label_map),
            train_records=str(folder / "train.record"),
            eval_records=str(folder / "test.record"),
        )
    )
    config = load(str(folder / "converted" / CONFIG))
    training = detectors.training("small", request.Architecture.FASTER_RCNN)
    detectors.fit_to_scenes(config, replace(training, steps=STEPS))
    path = str(folder / "pipeline.config")
    recipes.write(config, Path(path))
    figures: Figures = {"case": f"the demo's detector of digits, {STEPS} steps"}
    for precision in PRECISIONS:
        trained = train(
            TrainOptions(
                config=path,
                model_dir=str(folder / precision),
                checkpoint_every_n=STEPS,
                record_summaries=False,
                seed=1,
                mixed_precision=precision,
            )
        )
        metrics = evaluate(EvaluateOptions(config=path, checkpoint=str(folder / precision))).metrics
        figures[precision] = {
            name: round(metrics[f"DetectionBoxes_Precision/{key}"], 3)
            for name, key in (("AP", "mAP"), ("AP@0.5", "mAP@.50IOU"))
        } | {"seconds": round(trained.seconds)}
    return figures


def _draw(folder: Path, label_map: Path) -> dict[str, Any]:
    """Writes label map and records of scenes, and returns the digits of each part."""
    from odapi.demo import scenes

    scenes.write_label_map(label_map)
    parts = dict(zip(SCENES, scenes.split_digits(scenes.load_digits()), strict=True))
    for seed, (part, count) in enumerate(SCENES.items()):
        drawn = scenes.make_scenes(parts[part], count, seed)
        scenes.write_records(drawn, folder / f"{part}.record")
    return parts
