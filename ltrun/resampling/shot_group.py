"""Shot-group sampling: the images of the many-shot, the medium-shot or the few-shot classes alone."""

import torch
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.metrics import GROUPS, Group
from ltrun.parts import Sampler
from ltrun.types import ClassStats, Clock, Targets


def shot_groups(stats: ClassStats) -> dict[str, Tensor]:
    """Group -> (C,) boolean mask of its classes: many-shot, medium-shot and few-shot, each with images.

    Where one of the three has no images, as in CIFAR-10-LT, the classes with images are cut into thirds by count instead, and
    classes without images join the rarest third. Raises ConfigError for fewer than three classes with images.
    """
    shots, present = torch.stack(list(stats.shots().values())), stats.counts > 0
    classes = int(present.sum())
    if classes < len(GROUPS):
        raise ConfigError(f"three shot groups need at least three classes with images; there are {classes}")
    rank = stats.counts.argsort(descending=True, stable=True).argsort()
    third = (rank * len(GROUPS) // classes).clamp(max=len(GROUPS) - 1)
    thirds = third == torch.arange(len(GROUPS))[:, None]
    masks = torch.where((shots & present).any(dim=1).all(), shots, thirds)
    return dict(zip(GROUPS, masks, strict=True))


def shuffled_rows(labels: Tensor, classes: Tensor, generator: torch.Generator) -> Tensor:
    """Returns the rows of some classes in random order. labels: (N,) of all rows."""
    rows = torch.isin(labels.to(generator.device), classes.to(generator.device)).nonzero()[:, 0]
    return rows[torch.randperm(len(rows), generator=generator, device=generator.device)]


class ShotGroup(Sampler):
    """Draws each image of one shot group once per epoch, in random order, and no other image.

    shots: the group, see `shot_groups`. It trains the experts of LFME, each on the classes of its group.

    Xiang et al., 2020, arXiv 2001.01536.
    """

    classes: Tensor

    def __init__(self, shots: Group, *, stats: ClassStats):
        super().__init__()
        self.register_buffer("classes", shot_groups(stats)[shots].nonzero()[:, 0], persistent=False)

    def draw(self, targets: Targets, clock: Clock, generator: torch.Generator) -> Tensor:
        return shuffled_rows(targets.labels, self.classes, generator)
