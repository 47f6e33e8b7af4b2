"""Class-aware sampling: cycles through the classes, and through the images of each class."""

import torch
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.metrics import BOTH
from ltrun.parts import Sampler
from ltrun.resampling.members import members
from ltrun.types import Clock, Targets


def cycle_classes(classes: Tensor, turns: int, generator: torch.Generator) -> Tensor:
    """(turns,): the classes in random order, reshuffled each time that all have had their turn. classes: (K,)."""
    cycles = -(-turns // len(classes))
    order = torch.rand(cycles, len(classes), generator=generator, device=generator.device).argsort(dim=1)
    return classes[order.flatten()[:turns]]


def cycle_rows(labels: Tensor, classes: Tensor, generator: torch.Generator) -> Tensor:
    """(length,): for each entry of `classes` (length,) a row of that class, the next one in the class's shuffled list.

    A list that is used up is reshuffled. labels: (N,) class of each row. Uses no loop over rows or classes: each class gets a
    deck of as many copies of its list as it needs, and the decks are concatenated.
    """
    counts = torch.bincount(labels)
    wanted = torch.bincount(classes, minlength=len(counts))
    copies = -(-wanted // counts.clamp(min=1))
    deck = torch.arange(len(labels), device=labels.device).repeat_interleave(copies[labels])  # each row, copy after copy
    copy = torch.arange(len(deck), device=labels.device) - (copies[labels].cumsum(0) - copies[labels])[deck]
    shuffle = torch.randperm(len(deck), generator=generator, device=generator.device)
    key = (labels[deck] * (copies.max() + 1) + copy)[shuffle]
    deck = deck[shuffle[key.argsort(stable=True)]]  # by class, then by copy, shuffled within a copy
    by_class = classes.argsort(stable=True)
    skipped = copies * counts - wanted  # rows left over at the end of each deck
    position = torch.arange(len(classes), device=labels.device) + (skipped.cumsum(0) - skipped)[classes[by_class]]
    return torch.empty_like(classes).index_copy_(0, by_class, deck[position])


class ClassAware(Sampler):
    """Class-aware sampling: cycles through a shuffled list of classes, and through a shuffled list of each class's images.

    images_per_turn consecutive rows are of one class, 4 in the authors' code for cRT and LWS; a class with fewer images
    repeats them. Every C * images_per_turn rows hold every class equally often; `Power(q=0)` does so only on average. Classes
    without images have no turn.

    An epoch has len(targets) rows: the authors' sampler has max(n_c) * C, of which their training loop uses len(targets). With
    `reduce` it has max(n_c) * C / reduce rows, C being the classes with images: the distribution-balanced loss has 4, and 3
    images per turn. An image with several labels lies in the list of each of its classes, one without labels in none, so it is
    never drawn.
    Their lists continue from epoch to epoch; here each epoch starts with new lists, so that an epoch depends only on its seed
    and can be resumed. So images of a large class may repeat in the next epoch before all of them have been drawn.

    Shen et al., 2016, arXiv 1512.05830; Kang et al., 2020, arXiv 1910.09217; reduce: Wu et al., 2020, arXiv 2007.09654.
    """

    accepts = BOTH
    balances = True

    def __init__(self, images_per_turn: int = 4, reduce: float | None = None):
        super().__init__()
        if images_per_turn < 1:
            raise ConfigError(f"images_per_turn must be at least 1, got {images_per_turn}")
        if reduce is not None and reduce <= 0:
            raise ConfigError(f"reduce must be above 0, or null for as many rows as there are images, got {reduce}")
        self.images_per_turn, self.reduce = images_per_turn, reduce

    def draw(self, targets: Targets, clock: Clock, generator: torch.Generator) -> Tensor:
        rows, classes = members(targets, generator)
        counts = torch.bincount(classes)
        present = counts.nonzero()[:, 0]
        length = len(targets)
        if self.reduce is not None:
            length = max(1, int(int(counts.max()) * len(present) / self.reduce))
        turns = cycle_classes(present, -(-length // self.images_per_turn), generator)
        return rows[cycle_rows(classes, turns.repeat_interleave(self.images_per_turn)[:length], generator)]
