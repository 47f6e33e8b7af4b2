"""FrameStack: videos made of frames of two videos, more of the one whose classes are recognised worse."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ltrun.errors import ConfigError, TrainingError
from ltrun.metrics import MULTI_LABEL
from ltrun.parts import Mixer
from ltrun.types import Batch, MultiHot, Outputs, Streams, View

BINS, REACH = 2048, 16.0  # of the histograms of logits, between -REACH and REACH


def partner_shares(precision: Tensor, hot: Tensor, partner: Tensor) -> Tensor:
    """(B,) share of the partner's frames: m / (m + the partner's m), with m the sum of the average precisions (C,) of a video's
    labels; 1/2 where both are about 0. hot: (B, C). partner: (B,)."""
    known = (hot * precision).mean(dim=1)
    both = known + known[partner]
    return torch.where(both < 1e-5, 0.5, known / both.clamp(min=1e-5))


def stacked(share: Tensor, frames: int) -> tuple[Tensor, Tensor]:
    """Returns (B, frames) each: whether a frame of a stacked video is the partner's, and its number in the video that it is of.

    The first int(share * frames) are the partner's, the others the video's own, each evenly spaced and rounded down.
    """
    place = torch.arange(frames, device=share.device)
    theirs = (share * frames).long()[:, None]
    other = place < theirs
    count, within = torch.where(other, theirs, frames - theirs), torch.where(other, place, place - theirs)
    step = (frames - 1) / (count - 1).clamp(min=1).double()
    evenly = torch.where((within == count - 1) & (count > 1), frames - 1, (within * step).long())
    return other, evenly


def binned_precision(positive: Tensor, every: Tensor) -> Tensor:
    """(C,) average precision of each class from counts (C, BINS) of its positive rows and of all rows, by rising score. Rows in
    one bin are ties; a class without positive rows has 0."""
    hits, seen = positive.flip(1).double(), every.flip(1).double().cumsum(1)
    precision = hits.cumsum(1) / seen.clamp(min=1)
    return ((precision * hits).sum(1) / hits.sum(1).clamp(min=1)).float()


class FrameStack(Mixer):
    """FrameStack: replaces a share `ratio` of a batch by videos that join frames of two videos of that share.

    A video i with partner j gets int(b L) frames of j and L - int(b L) of its own, L in all, with b = m_i / (m_i + m_j), and
    the labels (1 - b) y_i + b y_j; m is the sum of the running average precisions of a video's classes. So the worse a
    video's classes are recognised, the more frames it gives. The first epoch, which knows no precision, is not mixed.

    The precisions are of the training videos of the epoch before. The authors predict every video of a batch once more,
    unmixed; here the rows count that the step itself has seen whole, half of them by default, so that a step costs no second
    pass. Their logits are kept as histograms, of which a checkpoint holds the whole.

    Zhang et al., 2021 (VideoLT), arXiv 2105.02668.
    """

    accepts = frozenset({MULTI_LABEL})
    acts_from = 1
    videos = True
    precision: Tensor
    counts: Tensor
    active: Tensor

    def __init__(self, ratio: float = 0.5, *, num_classes: int):
        super().__init__()
        if not 0 < ratio <= 1:
            raise ConfigError(f"ratio must be a share of the batch, above 0 and at most 1, got {ratio}")
        self.ratio = ratio
        self.register_buffer("precision", torch.zeros(num_classes))
        self.register_buffer("counts", torch.zeros(2, num_classes * BINS, dtype=torch.int32))  # of positive rows, of all
        self.register_buffer("active", torch.tensor(False))

    def adapt(self, view: View) -> None:
        self.active.fill_(view.clock.epoch > 0)
        self.precision.copy_(binned_precision(*self.counts.view(2, -1, BINS)))
        self.counts.zero_()

    def forward(self, streams: Streams) -> dict[str, Batch]:
        main = streams["main"]
        if main.inputs.ndim != 3:
            raise TrainingError(
                f"FrameStack joins frames of videos (B, frames, features), got inputs of {tuple(main.inputs.shape)}"
            )
        own, size, frames = _several(main), len(main), main.inputs.shape[1]
        rows, half = torch.arange(size, device=main.inputs.device), int(size * self.ratio)
        partner = torch.rand(half, device=main.inputs.device).argsort()
        share = partner_shares(self.precision, own.hot[:half], partner) * self.active
        other, evenly = stacked(share, frames)
        source = torch.where(other, partner[:, None], rows[:half, None])
        inputs = torch.cat([main.inputs[source, evenly], main.inputs[half:]])
        partners, keep = torch.cat([partner, rows[half:]]), torch.cat([1 - share, share.new_ones(size - half)])
        targets = own.mix(own.take(partners), keep)
        return {**streams, "main": main.replace(inputs=inputs, targets=targets)}

    def after_step(self, outputs: Mapping[str, Outputs], streams: Streams) -> None:
        logits, hot = outputs["main"].need("logits").float(), _several(streams["main"]).hot
        whole = ((hot == 0) | (hot == 1)).all(dim=1, keepdim=True).expand_as(hot)
        bins = ((logits + REACH) * (BINS / (2 * REACH))).long().clamp(0, BINS - 1)
        places = (bins + torch.arange(hot.shape[1], device=hot.device) * BINS).flatten()
        for counts, rows in zip(self.counts, (whole & (hot == 1), whole), strict=True):
            counts.index_add_(0, places, rows.flatten().int())


def _several(batch: Batch) -> MultiHot:
    assert isinstance(batch.targets, MultiHot)  # `accepts` keeps other tasks away
    return batch.targets
