"""SSP by rotation: self-supervised pre-training that predicts by how many quarter turns an image is rotated."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.metrics import BOTH
from ltrun.numerics import in_float32
from ltrun.parts import Mixer, Term
from ltrun.types import Batch, Labels, Outputs, Streams

TURNS = 4


def rotate(images: Tensor, turns: Tensor) -> Tensor:
    """Rotates each of (B, channels, H, H) images by its own number of quarter turns, counter-clockwise. turns: (B,), 0 to 3."""
    if images.shape[-1] != images.shape[-2]:
        raise ConfigError(f"transfer=ssp rotates square images; these have {images.shape[-2]} x {images.shape[-1]} pixels")
    rotated = images
    for turn in range(1, TURNS):
        rotated = torch.where((turns == turn)[:, None, None, None], images.rot90(turn, (-2, -1)), rotated)
    return rotated


class Rotations(Mixer):
    """Rotates each image by a random number of quarter turns, which takes the place of its label, for `RotationPrediction`.

    The four turns are as frequent as they can be in a batch: its numbers are the first of a random permutation of 0, 1, 2, 3,
    repeated. Each image is seen in one rotation, not in all four.

    Yang and Xu, 2020, arXiv 2006.07529; Gidaris et al., 2018, arXiv 1803.07728.
    """

    accepts = BOTH

    def forward(self, streams: Streams) -> dict[str, Batch]:
        main = streams["main"]
        rows = len(main)
        order = torch.rand((rows // TURNS + 1) * TURNS, device=main.inputs.device).argsort()
        turns = order[:rows] % TURNS
        return {**streams, "main": main.replace(inputs=rotate(main.inputs, turns), targets=Labels.hard(turns))}


class RotationPrediction(Term):
    """Cross-entropy of the rotation, 0 to 3 quarter turns, predicted from the features by a linear layer of its own.

    It is the stage's whole loss; the network's classifier is not trained. The authors also rotate validation images; here
    the stage's evaluations show the untrained classifier.

    Yang and Xu, 2020, arXiv 2006.07529.
    """

    accepts = BOTH
    reads = frozenset({"features"})

    def __init__(self, *, features: int):
        super().__init__()
        self.turns = nn.Linear(features, TURNS)

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        logits = in_float32(self.turns, outputs["main"].need("features"))
        return F.cross_entropy(logits, streams["main"].targets.labels)
