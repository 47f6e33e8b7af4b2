"""AugMix: mixtures of an image with differently augmented versions of itself."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Gamma

from ltrun.augmentation.operations import apply
from ltrun.augmentation.tables import AUGMIX
from ltrun.errors import ConfigError
from ltrun.parts import Augment
from ltrun.types import Batch

MAGNITUDES, DEEPEST = 10, 3


def mixed(images: Tensor, versions: Tensor, own: Tensor, shares: Tensor) -> Tensor:
    """(B, channels, H, W) uint8: own * images + (1 - own) * weighted versions, cut to whole levels.

    versions: (K, B, channels, H, W). own: (B,) from 0 to 1. shares: (K, B), of which the sum over K is 1.
    """
    weights = (shares * (1 - own))[:, :, None, None, None]
    total = own[:, None, None, None] * images + (weights * versions).sum(0)
    return (total + 1e-3).clamp(0, 255).to(torch.uint8)  # the 1e-3 takes 76.99999 to 77


class AugMix(Augment):
    """Mixes each image with `width` versions of itself, each made by a chain of one to three operations at a low magnitude.

    Operations and mixture are torchvision's: 13 operations, of ten magnitudes the `severity` lowest; the shares of the versions
    are drawn from a Dirichlet distribution, the image's own from a Beta distribution, both with parameter `alpha`. The paper's
    further loss, a Jensen-Shannon divergence between three views, is no augmentation and is left out. Pixels from outside an
    image have the grey level `fill`. Images of one channel have no colour, so `color` leaves them unchanged.

    Hendrycks et al., 2019, arXiv 1912.02781.
    """

    def __init__(self, severity: int = 3, width: int = 3, alpha: float = 1.0, fill: int = 0):
        super().__init__()
        if not 1 <= severity <= MAGNITUDES:
            raise ConfigError(f"severity must lie between 1 and {MAGNITUDES}, got {severity}")
        if width < 1:
            raise ConfigError(f"width must be at least 1 version, got {width}")
        if alpha <= 0:
            raise ConfigError(f"alpha must be above 0, got {alpha}")
        if not 0 <= fill <= 255:
            raise ConfigError(f"fill must lie between 0 and 255, got {fill}")
        self.severity, self.width, self.alpha, self.fill = severity, width, alpha, fill

    def forward(self, batch: Batch) -> Batch:
        images, number, device = batch.inputs, len(batch), batch.inputs.device
        own, shares = self._draw_shares(2, batch)[0], self._draw_shares(self.width, batch)
        size = (self.width, DEEPEST, number)
        depth = torch.randint(1, DEEPEST + 1, (self.width, 1, number), device=device)
        level = torch.randint(self.severity, size, device=device) / (MAGNITUDES - 1)
        operation, value = AUGMIX.draw(level, images.shape)
        operation = operation * (torch.arange(DEEPEST, device=device)[:, None] < depth)  # 0 is the identity
        versions = [images] * self.width
        for chain in range(self.width):
            for step in range(DEEPEST):
                versions[chain] = apply(versions[chain], operation[chain, step], value[chain, step], self.fill)
        return batch.replace(inputs=mixed(images, torch.stack(versions), own, shares))

    def _draw_shares(self, versions: int, batch: Batch) -> Tensor:
        """(versions, B) draws from a Dirichlet distribution, as ratios of gammas: compilers cannot trace torch's own."""
        alpha = torch.full((versions, len(batch)), self.alpha, dtype=torch.float64, device=batch.inputs.device)
        gammas = Gamma(alpha, torch.ones_like(alpha), validate_args=False).sample()
        return (gammas / gammas.sum(0)).float()
