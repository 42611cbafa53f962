"""Training: the Object Detection API's trainer with checks before it and progress from step one."""

from odapi.train.folder import TOTAL_LOSS
from odapi.train.options import TrainOptions
from odapi.train.run import TrainingResult, train

__all__ = ["TOTAL_LOSS", "TrainOptions", "TrainingResult", "train"]
