"""OPeN: images of pure noise in place of some images of rare classes."""

from __future__ import annotations

import torch
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.parts import Mixer
from ltrun.reweighting.deferred import fraction_of_stage
from ltrun.types import Batch, ClassStats, Streams, View


def noise_probability(counts: Tensor, delta: float) -> Tensor:
    """(C,) float64: (1 - n_c / n_max) * delta, 0 for the largest class."""
    return (1 - counts.double() / counts.max()) * delta


class OPeN(Mixer):
    """Oversampling with pure noise: an image becomes noise, and keeps its label, with a probability that grows with rarity.

    With class-balanced sampling, part of a rare class's repeated images are replaced, so that the classifier is trained on
    more of the input space for rare classes. Each pixel of noise is drawn from N(0, 1), the mean and the spread of prepared
    images over the data set, after augmentation. The probability is (1 - n_c / n_max) * delta from the fraction `start` of a
    stage on, as a deferred sampler, and 0 before. `Batch.generated` marks the rows for the network, which normalises them
    apart; name this mixer after others, which would mix noise into natural images. delta = 1/3 and start = 0.8 are the
    authors' values for CIFAR as quoted, not verified. Rows that an earlier mixer mixed count as their first label.

    Zada et al., 2021, arXiv 2112.08810.
    """

    acts_from = 1
    probability: Tensor
    active: Tensor

    def __init__(self, delta: float = 1 / 3, start: float = 0.8, *, stats: ClassStats):
        super().__init__()
        if not 0 <= delta <= 1:
            raise ConfigError(f"delta must be a probability, from 0 to 1, got {delta}")
        self.start = fraction_of_stage(start)
        self.register_buffer("probability", noise_probability(stats.counts, delta).float(), persistent=False)
        self.register_buffer("active", torch.tensor(False))

    def adapt(self, view: View) -> None:
        self.active.fill_(view.clock.passed(self.start))

    def forward(self, streams: Streams) -> dict[str, Batch]:
        main = streams["main"]
        images, chance = main.inputs, self.probability[main.targets.labels]
        generated = (torch.rand_like(chance) < chance) & self.active
        noise = torch.where(generated.view(-1, *[1] * (images.ndim - 1)), torch.randn_like(images), images)
        return {**streams, "main": main.replace(inputs=noise, generated=generated)}
