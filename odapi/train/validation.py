"""Evaluation during training: the best checkpoint is kept, and a run that improves no more ends."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import object_detection  # noqa: F401  settles Keras 2 before TensorFlow is used
import tensorflow as tf

from odapi.console.errors import UserError
from odapi.console.files import drop_steps_after, read_lines, replacing
from odapi.console.terminal import say
from odapi.detector.detector import Detector
from odapi.evaluate.result import REPORT_NAME, EvaluationResult
from odapi.evaluate.run import evaluate_detector
from odapi.pipeline.inputs import EvalRecords

LOG_NAME = "evaluations.jsonl"
BEST_NAME = "best"


class Validation:
    """Evaluates checkpoints of a run as they are written.

    What it knows is in `evaluations.jsonl` of the run's folder, a line for each evaluation, so that
    a resumed run goes on from there. A line is written when `best/`, which holds the checkpoint
    with the highest metric and its evaluation, has become what the line says with "kept".

    Attributes:
        folder: `best/`.
    """

    def __init__(
        self,
        config: Any,
        records: EvalRecords,
        model_dir: Path,
        *,
        every_n: int,
        metric: str,
        patience: int | None,
        first_step: int,
        last_step: int,
    ) -> None:
        """Forgets evaluations of steps after `first_step`: the run repeats them.

        Args:
            config: the `pipeline_pb2.TrainEvalPipelineConfig` of the run.
            records: what to evaluate on.
            model_dir: the run's folder.
            every_n: steps between evaluations, at least; the last step gets one in any case.
            metric: what to compare checkpoints by, one of METRICS or MASK_METRICS; more is better.
            patience: the run ends after this many evaluations without a new best; None: never.
            first_step: the step it starts after.
            last_step: the step it ends at.
        """
        self._config = config
        self._records = records
        self._every_n = every_n
        self._metric = metric
        self._patience = patience
        self._last_step = last_step
        self._model_dir = model_dir
        self.folder = model_dir / BEST_NAME
        self._log = model_dir / LOG_NAME
        drop_steps_after(self._log, first_step)
        self._entries = read_lines(self._log)
        self._detector: Detector | None = None
        self._writer: Any = None

    @property
    def best(self) -> tuple[float, int] | None:
        """Metric and step of the checkpoint in `best/`; None where there is none of this run.

        `best/evaluation.json` is not asked: it may be of another evaluation by hand.
        """
        kept = [entry for entry in self._entries if entry["kept"]]
        if not kept or not tf.train.latest_checkpoint(str(self.folder)):
            return None
        value = kept[-1]["metrics"].get(self._metric)
        return None if value is None else (value, kept[-1]["step"])

    def checkpoint(self, step: int, path: str) -> bool:
        """Evaluates a checkpoint if it is time to.

        Args:
            step: its global step.
            path: its prefix.

        Returns:
            Whether training is to end.

        Raises:
            UserError: the records do not give the metric, for want of masks or large objects.
        """
        evaluated = self._entries[-1]["step"] if self._entries else 0
        is_due = step // self._every_n > evaluated // self._every_n
        if not is_due and (step < self._last_step or step == evaluated):
            return False
        result = self._evaluate(step, path)
        metrics = _metrics(result)
        value = metrics.get(self._metric)
        if value is None:
            raise UserError(
                f"the evaluation does not give {self._metric}",
                at=", ".join(self._records.files),
                hint="take another --best_metric; it gives "
                + ", ".join(name for name, found in metrics.items() if found is not None),
            )
        best = self.best
        improves = best is None or value > best[0]
        if improves:
            self._keep(path, result)
        entry = {"step": step, "kept": improves, "metrics": metrics}
        with self._log.open("a", encoding="utf-8") as log:
            log.write(json.dumps(entry) + "\n")
        self._entries.append(entry)
        if improves:
            say(f"{self._metric} {value:.3f} at step {step}: the best so far")
            return False
        waited = sum(entry["step"] > best[1] for entry in self._entries)
        say(f"{self._metric} {value:.3f} at step {step}; best {best[0]:.3f} at step {best[1]}")
        if self._patience is None or waited < self._patience:
            return False
        say(f"no better in {waited} evaluations: training ends (--early_stopping_patience)")
        return True

    def _evaluate(self, step: int, path: str) -> EvaluationResult:
        if self._detector is None:
            # A second model, whose graph is traced once: the one in training cannot be asked, it
            # normalises by the batch.
            self._detector = Detector.from_checkpoint(self._config, path)
            self._writer = tf.summary.create_file_writer(str(self._model_dir / "eval"))
        else:
            self._detector.restore(path)
        result = evaluate_detector(
            self._detector,
            self._records,
            every=self._records.reader.sample_1_of_n_examples,
            step=step,
        )
        # The train loop records at some steps only.
        with self._writer.as_default(), tf.summary.record_if(True):
            for name, value in _metrics(result).items():
                if value is not None:
                    tf.summary.scalar(name, value, step)
        self._writer.flush()
        return result

    def _keep(self, path: str, result: EvaluationResult) -> None:
        """Makes a checkpoint the best one: the old stays until the new is whole."""
        prefix = Path(path)
        for file in prefix.parent.glob(f"{prefix.name}.*"):
            with replacing(self.folder / file.name) as partial:
                shutil.copyfile(file, partial)
        # Of a relative folder it would write the way from there to the working directory.
        tf.compat.v1.train.update_checkpoint_state(
            str(self.folder.absolute()), prefix.name, all_model_checkpoint_paths=[prefix.name]
        )
        result.write(self.folder / REPORT_NAME)
        for file in self.folder.glob("ckpt-*"):
            if file.stem != prefix.name:
                file.unlink()


def _metrics(result: EvaluationResult) -> dict[str, float | None]:
    return result.metrics | (result.mask_metrics or {})
