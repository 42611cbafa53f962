"""What an evaluation is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from odapi.evaluate.mistakes import MIN_SCORE


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """The flags of `odapi evaluate`, by their names.

    Attributes:
        config: path of the pipeline config.
        checkpoint: a folder with checkpoints, of which the latest is taken, or one checkpoint's
            prefix; None with `saved_model`.
        saved_model: the folder of an exported model.
        model_dir: gets evaluation.json. None: the folder that holds the checkpoint or SavedModel
            does, or `output_dir` alone where that is given.
        output_dir: gets the result as JSON, CSV and a page, and the files for pycocotools; None:
            they are not written.
        min_score: 0 to 1. Confusion matrix and worst images leave out detections below it.
        sample_1_of_n_eval_examples: take every Nth record; None: as the config's first
            eval_input_reader says.
        config_override: a text proto, merged over the config.
    """

    config: str
    checkpoint: str | None = None
    saved_model: str | None = None
    model_dir: Path | None = None
    output_dir: Path | None = None
    min_score: float = MIN_SCORE
    sample_1_of_n_eval_examples: int | None = None
    config_override: str = ""

    def folders(self, model: str) -> list[Path]:
        """Those that are written to: each gets evaluation.json, `output_dir` all the rest.

        Args:
            model: the checkpoint's prefix, or the SavedModel.
        """
        found = [self.output_dir] if self.output_dir else []
        if self.model_dir or not self.output_dir:
            found.append(self.model_dir or Path(model).parent)
        return found
