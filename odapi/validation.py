"""Evaluation during training: the best checkpoint is kept, and a run that improves no more ends."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import object_detection  # noqa: F401  settles Keras 2 before TensorFlow is used
import tensorflow as tf

from odapi import config as configs
from odapi.detector import Detector
from odapi.errors import UserError
from odapi.evaluate import REPORT_NAME, evaluate_detector
from odapi.evaluation.result import EvaluationResult
from odapi.files import drop_steps_after, replacing

LOG_NAME = "evaluations.jsonl"
BEST_NAME = "best"


class Validation:
    """Evaluates checkpoints of a run as they are written.

    What it knows is in two files of the run's folder, so that a resumed run goes on from there:
    `evaluations.jsonl` with a line for each evaluation, and `best/`, which holds the checkpoint
    with the highest metric, and its evaluation.

    Attributes:
        folder: `best/`.
    """

    def __init__(
        self,
        config: Any,
        records: configs.EvalRecords,
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
        self._evaluated = first_step
        self._last_step = last_step
        self._model_dir = model_dir
        self.folder = model_dir / BEST_NAME
        self._log = model_dir / LOG_NAME
        drop_steps_after(self._log, first_step)
        self._detector: Detector | None = None
        self._writer: Any = None

    @property
    def best(self) -> tuple[float, int] | None:
        """The highest metric and its step, or None before the first evaluation."""
        path = self.folder / REPORT_NAME
        if not path.is_file():
            return None
        report = json.loads(path.read_text(encoding="utf-8"))
        return _metrics(report).get(self._metric), report["step"]

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
        if step - self._evaluated < self._every_n and step < self._last_step:
            return False
        self._evaluated = step
        result = self._evaluate(step, path)
        metrics = _metrics(vars(result))
        value = metrics.get(self._metric)
        if value is None:
            raise UserError(
                f"the evaluation does not give {self._metric}",
                at=", ".join(self._records.files),
                hint="take another --best_metric; it gives "
                + ", ".join(name for name, found in metrics.items() if found is not None),
            )
        with self._log.open("a", encoding="utf-8") as log:
            log.write(json.dumps({"step": step, "metrics": metrics}) + "\n")
        best = self.best
        if best is None or best[0] is None or value > best[0]:
            self._keep(path, result)
            print(f"{self._metric} {value:.3f} at step {step}: the best so far")
            return False
        waited = self._evaluations_after(best[1])
        print(f"{self._metric} {value:.3f} at step {step}; best {best[0]:.3f} at step {best[1]}")
        if self._patience is None or waited < self._patience:
            return False
        print(f"no better in {waited} evaluations: training ends (--early_stopping_patience)")
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
            self._records.reader,
            self._records.files,
            self._records.names,
            every=self._records.reader.sample_1_of_n_examples,
            step=step,
        )
        # The train loop records at some steps only.
        with self._writer.as_default(), tf.summary.record_if(True):
            for name, value in _metrics(vars(result)).items():
                if value is not None:
                    tf.summary.scalar(name, value, step)
        self._writer.flush()
        # Detectors switch it off for the whole process.
        tf.keras.backend.set_learning_phase(1)
        return result

    def _keep(self, path: str, result: EvaluationResult) -> None:
        """Makes a checkpoint the best one: the old stays until the new is whole."""
        prefix = Path(path)
        for file in prefix.parent.glob(f"{prefix.name}.*"):
            with replacing(self.folder / file.name) as partial:
                shutil.copyfile(file, partial)
        tf.compat.v1.train.update_checkpoint_state(
            str(self.folder), prefix.name, all_model_checkpoint_paths=[prefix.name]
        )
        result.write(self.folder / REPORT_NAME)
        for file in self.folder.glob("ckpt-*"):
            if file.stem != prefix.name:
                file.unlink()

    def _evaluations_after(self, step: int) -> int:
        lines = self._log.read_text(encoding="utf-8").splitlines()
        return sum(json.loads(line)["step"] > step for line in lines)


def _metrics(report: Mapping[str, Any]) -> dict[str, float | None]:
    return report["metrics"] | (report["mask_metrics"] or {})
