"""Random frames: a draw of some frames of a video, in their order."""

from __future__ import annotations

import torch

from ltrun.data.frames import RandomFrames as Draw
from ltrun.errors import ConfigError, TrainingError
from ltrun.parts import Augment
from ltrun.types import Batch


class RandomFrames(Augment):
    """Draws `frames` frames of a video uniformly with replacement, and sorts them by time.

    A data set of videos reads these frames alone from its files, with draws that depend on the seed, the epoch and the row
    alone; of videos (B, F, D) that are held in memory, frames are drawn on the device.

    Zhang et al., 2021 (VideoLT), arXiv 2105.02668.
    """

    cuts = "videos"

    def __init__(self, frames: int = 60):
        super().__init__()
        if frames < 1:
            raise ConfigError(f"frames must be at least 1, got {frames}")
        self.crop: Draw = Draw(frames)

    def forward(self, batch: Batch) -> Batch:
        inputs = batch.inputs
        if inputs.ndim != 3:
            raise TrainingError(
                f"RandomFrames draws frames of videos (B, frames, features), got inputs of {tuple(inputs.shape)}"
            )
        rows = torch.randint(inputs.shape[1], (len(inputs), self.crop.count), device=inputs.device).sort(dim=1).values
        return batch.replace(inputs=inputs[torch.arange(len(inputs), device=inputs.device)[:, None], rows])
