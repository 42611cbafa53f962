"""The folder of a run, model_dir, beside the checkpoints that the trainer writes there."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from odapi.console.errors import UserError
from odapi.console.files import drop_steps_after, write_text
from odapi.console.terminal import say
from odapi.train import workers

LOG_NAME = "train_log.jsonl"
TOTAL_LOSS = "Loss/total_loss"
LEARNING_RATE = "learning_rate"
NONFINITE_NAME = "nonfinite"
SEED_NAME = "seed.json"


class RunFolder:
    """Where a run leaves what it did, as seen from one of its workers.

    Attributes:
        path: of the folder.
        log: one JSON object per step: step, losses, learning_rate and seconds.
    """

    def __init__(self, path: Path, team: workers.Workers) -> None:
        self.path = path
        self.log = path / LOG_NAME
        self._team = team

    @property
    def own_log(self) -> Path:
        """Where this worker writes steps: the chief's are those that stay."""
        return self.log if self._team.is_chief else Path(os.devnull)

    def nonfinite(self, index: int) -> Path:
        """Where a worker keeps steps that were not finite: each has a batch of its own."""
        folder = self.path / NONFINITE_NAME
        return folder / f"worker_{index}" if index else folder

    def prepare(self, first_step: int) -> None:
        """Makes the folder, and forgets what it holds of steps that will be repeated."""
        if not self._team.is_chief:
            return
        self.path.mkdir(parents=True, exist_ok=True)
        drop_steps_after(self.log, first_step)
        for steps in self.path.glob(f"{NONFINITE_NAME}/**/steps.jsonl"):
            drop_steps_after(steps, first_step)
        self.log.touch()
        # A worker that was killed leaves the folders that TensorFlow made it write to.
        for left in [*self.path.glob("temp_worker_*"), *self.path.glob("train/temp_worker_*")]:
            shutil.rmtree(left)

    def settle_seed(self, seed: int | None, resumes: bool) -> int | None:
        """The run's seed, which is kept in a file: a resumed run goes on with that of its start.

        Args:
            seed: the one that is asked for, or None.
            resumes: whether the run was begun before.

        Raises:
            UserError: it was begun with another one.
        """
        file = self.path / SEED_NAME
        if not resumes and self._team.is_chief:
            if seed is None:
                file.unlink(missing_ok=True)
            else:
                write_text(file, json.dumps({"seed": seed}) + "\n")
        elif resumes:
            text = file.read_text(encoding="utf-8") if file.exists() else '{"seed": null}'
            begun_with = json.loads(text)["seed"]
            if seed not in (None, begun_with):
                start = "without a seed" if begun_with is None else f"with seed {begun_with}"
                raise UserError(
                    f"the run was begun {start}",
                    at=f"--seed {seed}, and {file}",
                    hint="leave out --seed to go on with that, or take another --model_dir",
                )
            seed = begun_with
        if seed is not None:
            say(f"seed {seed}: on a CPU, a resumed run ends as an uninterrupted one, to the bit")
        return seed

    def barrier(self, first_step: int) -> None:
        """Waits until all workers are ready, and the chief has prepared the folder.

        Raises:
            UserError: the workers do not look at the same folder.
        """
        first_steps = self._team.gather(first_step)
        if len(set(first_steps)) > 1:
            steps = ", ".join(map(str, first_steps))
            what = f"the workers see checkpoints of other steps: {steps}"
        elif not self.log.is_file():
            what = "this worker does not see what the chief wrote"
        else:
            return
        raise UserError(
            what,
            at=f"--model_dir {self.path.absolute()}",
            hint="name a folder that all workers share",
        )
