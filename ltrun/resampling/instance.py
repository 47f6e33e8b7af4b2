"""Instance-balanced sampling: every image once per epoch, shuffled."""

import torch
from torch import Tensor

from ltrun.metrics import BOTH
from ltrun.parts import Sampler
from ltrun.types import Clock, Targets


class Instance(Sampler):
    """Instance-balanced sampling: every row exactly once, in random order, so classes appear in proportion to their images.

    The name is from Kang et al., 2020, arXiv 1910.09217.
    """

    accepts = BOTH

    def draw(self, targets: Targets, clock: Clock, generator: torch.Generator) -> Tensor:
        return torch.randperm(len(targets), generator=generator, device=generator.device)
