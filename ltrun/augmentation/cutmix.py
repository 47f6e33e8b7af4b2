"""CutMix: a box of another image of the batch pasted onto each image."""

from __future__ import annotations

import torch
from torch import Tensor

from ltrun.augmentation.mixup import beta_of, draw_partners, draw_share
from ltrun.errors import ConfigError
from ltrun.metrics import BOTH
from ltrun.parts import Mixer
from ltrun.types import Batch, Streams


def box(height: int, width: int, keep: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """(H, W) mask of a box around the pixel (y, x) whose sides are sqrt(1 - keep) of the image's, clipped at the edges.

    keep, y, x: scalar tensors. Sides and their halves are rounded down, so a side is up to 2 pixels shorter.
    """
    ratio = (1 - keep).sqrt()
    half_height, half_width = (height * ratio).long() // 2, (width * ratio).long() // 2
    rows = torch.arange(height, device=keep.device)[:, None] - y
    columns = torch.arange(width, device=keep.device) - x
    return (rows >= -half_height) & (rows < half_height) & (columns >= -half_width) & (columns < half_width)


def draw_box(images: Tensor, beta: Tensor) -> Tensor:
    """(H, W) mask of one box for a batch: its area 1 - keep with keep ~ Beta(beta, beta), its centre uniform."""
    device, (height, width) = images.device, images.shape[-2:]
    keep = draw_share(beta)
    y, x = torch.randint(height, (), device=device), torch.randint(width, (), device=device)
    return box(height, width, keep, y, x)


def paste(background: Batch, foreground: Batch, mask: Tensor) -> Batch:
    """Puts the foreground where the mask (H, W) is true; mixes the labels by the exact area."""
    keep = 1 - mask.to(background.inputs.dtype).mean()
    return background.replace(
        inputs=torch.where(mask, foreground.inputs, background.inputs),
        targets=background.targets.mix(foreground.targets, keep.expand(len(background))),
    )


class CutMix(Mixer):
    """CutMix: pastes a box of another image of the batch onto each image; both labels count by the exact area.

    A batch is mixed with `probability`. Its one box has the area 1 - keep with keep ~ Beta(beta, beta) and a uniform centre,
    clipped at the edges; the partners are a random permutation of the batch. probability = 0.5 is the authors' value for
    CIFAR; for ImageNet it is 1.

    Yun et al., 2019, arXiv 1905.04899.
    """

    accepts = BOTH
    beta: Tensor

    def __init__(self, probability: float = 0.5, beta: float = 1.0):
        super().__init__()
        if not 0 <= probability <= 1:
            raise ConfigError(f"probability must lie between 0 and 1, got {probability}")
        self.probability = probability
        self.register_buffer("beta", beta_of(beta, "beta"), persistent=False)

    def forward(self, streams: Streams) -> dict[str, Batch]:
        main = streams["main"]
        mask = draw_box(main.inputs, self.beta)
        on = torch.rand((), device=main.inputs.device) < self.probability
        partner = draw_partners(main)
        other = main.replace(inputs=main.inputs[partner], targets=main.targets.take(partner))
        return {**streams, "main": paste(main, other, mask & on)}
