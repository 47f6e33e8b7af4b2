"""Frame classifier: one layer on the features of each frame, and their mean over the frames of a video."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ltrun.errors import ConfigError
from ltrun.parts import Backbone


class FrameClassifier(Backbone):
    """Videos (B, frames, D) -> features (B, hidden): a linear layer, a ReLU and dropout for each frame, then their mean.

    With a linear classifier the logits are the mean of the frames' logits, as in the original, which has the classifier before
    the mean; other classifiers get one vector a video. dropout: share of the features of each frame that are set to 0.

    Zhang et al., 2021 (VideoLT), arXiv 2105.02668.
    """

    videos = True

    def __init__(self, hidden: int = 2048, dropout: float = 0.5, *, input_shape: torch.Size):
        super().__init__()
        if hidden < 1:
            raise ConfigError(f"hidden must be at least 1, got {hidden}")
        if not 0 <= dropout < 1:
            raise ConfigError(f"dropout must be a share of the features, at least 0 and below 1, got {dropout}")
        self.features = hidden
        self.fc = nn.Linear(input_shape[-1], hidden)
        self.dropout = nn.Dropout(dropout)

    def forward(self, inputs: Tensor) -> Tensor:
        if inputs.ndim != 3:
            raise ValueError(f"it takes features of frames (videos, frames, features), got {tuple(inputs.shape)}")
        frames: Tensor = self.dropout(self.fc(inputs).relu())
        return frames.mean(dim=1)
