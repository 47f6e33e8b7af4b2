"""CMO: patches of tail-class images pasted into head-class images."""

from __future__ import annotations

import torch
from torch import Tensor

from ltrun.augmentation.cutmix import draw_box, paste
from ltrun.augmentation.mixup import beta_of
from ltrun.errors import ConfigError
from ltrun.metrics import BOTH
from ltrun.parts import Mixer
from ltrun.types import Batch, Streams, View, fraction_of


class CMO(Mixer):
    """Context-rich minority oversampling: pastes a box of a `tail` image onto each image of the main stream.

    Rare objects thus appear on the varied backgrounds of common ones; `tail` is class-balanced and is consumed here. A batch
    is mixed with `probability`; its one box is drawn as in CutMix: area 1 - keep with keep ~ Beta(beta, beta), a uniform
    centre, clipped. Both labels count by the exact area. The first and the last `plain` of the epochs are not mixed: 3 of 200.
    The authors' code compares with < and leaves out 4 epochs at the start where its option says 3; here it is 3.

    Park et al., 2022, arXiv 2112.00412.
    """

    accepts = BOTH
    streams = ("main", "tail")
    beta: Tensor
    active: Tensor

    def __init__(self, probability: float = 0.5, beta: float = 1.0, plain: float = 0.015):
        super().__init__()
        if not 0 <= probability <= 1:
            raise ConfigError(f"probability must lie between 0 and 1, got {probability}")
        if not 0 <= plain < 0.5:
            raise ConfigError(f"plain must be a share of the epochs, at least 0 and below 0.5, got {plain}")
        self.probability, self.plain = probability, plain
        self.register_buffer("beta", beta_of(beta, "beta"), persistent=False)
        self.register_buffer("active", torch.tensor(True))

    def adapt(self, view: View) -> None:
        epochs = view.clock.epochs
        plain = fraction_of(epochs, self.plain)
        self.active.fill_(plain <= view.clock.epoch < epochs - plain)

    def forward(self, streams: Streams) -> dict[str, Batch]:
        main, tail = streams["main"], streams["tail"]
        mask = draw_box(main.inputs, self.beta)
        on = self.active & (torch.rand((), device=main.inputs.device) < self.probability)
        return {name: batch for name, batch in streams.items() if name != "tail"} | {"main": paste(main, tail, mask & on)}
