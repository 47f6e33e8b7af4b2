"""Head-class sampling: the images of the most frequent classes alone."""

import torch
from torch import Tensor

from ltrun.augmentation.ofa import known_head
from ltrun.parts import Sampler
from ltrun.resampling.shot_group import shuffled_rows
from ltrun.types import ClassStats, Clock, Targets


class HeadClasses(Sampler):
    """Draws each image of the head classes once per epoch, in random order, and no other image.

    Head classes are the most frequent classes that together have at most `head_share` of all images, the largest at least.

    Zhong et al., 2019, CVPR 2019 (Unequal-Training for Deep Face Recognition).
    """

    classes: Tensor

    def __init__(self, head_share: float = 0.9, *, stats: ClassStats):
        super().__init__()
        self.register_buffer("classes", known_head(stats, head_share).nonzero()[:, 0], persistent=False)

    def draw(self, targets: Targets, clock: Clock, generator: torch.Generator) -> Tensor:
        return shuffled_rows(targets.labels, self.classes, generator)
