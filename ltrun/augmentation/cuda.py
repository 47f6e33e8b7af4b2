"""CUDA: a curriculum of augmentation whose strength follows the network's accuracy on each class."""

from __future__ import annotations

import torch
from torch import Tensor

from ltrun.augmentation.operations import INDEX, apply
from ltrun.errors import ConfigError
from ltrun.parts import Augment, Part
from ltrun.types import Batch, View

CHOICES = {  # operation -> its value at magnitude 0 and at SCALE
    "flip": (0, 1), "mirror": (0, 1), "edge_enhance": (0, 1), "detail": (0, 1), "smooth": (0, 1), "autocontrast": (0, 1),
    "equalize": (0, 1), "invert": (0, 1), "gaussian_blur": (0, 2), "resize_crop": (1, 1.5), "rotate": (0, 30),
    "posterize": (0, 4), "solarize": (0, 256), "add_solarize": (0, 110), "color": (0.1, 1.9), "contrast": (0.1, 1.9),
    "brightness": (0.1, 1.9), "sharpness": (0.1, 1.9), "shear_x": (0, 0.3), "shear_y": (0, 0.3), "translate_x": (0, 100),
    "translate_y": (0, 100),
}  # fmt: skip
SIGNED = {"rotate", "shear_x", "shear_y", "translate_x", "translate_y"}
SCALE, LARGEST = 30, 20  # of magnitudes
AT_ONCE = 250  # images of a test that are augmented together; random draws depend on it


def strengths(magnitude: int, operations: int) -> tuple[list[int], list[int]]:
    """Returns number and magnitude of the operations of each level, from 0 to the larger of the arguments."""
    levels = max(magnitude, operations)
    return tuple([-(-level * most // levels) for level in range(levels + 1)] for most in (operations, magnitude))  # type: ignore[return-value]


def value_of(name: str, magnitude: int) -> float:
    """The value of an operation, in its own unit."""
    low, high = CHOICES[name]
    value = magnitude / SCALE * (high - low) + low
    return max(1, value) if name == "posterize" else value


def trials_of(level: Tensor, tests: int, levels: int) -> Tensor:
    """(C, levels): images that test each level of a class: tests * (l + 1) for l up to the class's own level, else 0."""
    each = torch.arange(levels, device=level.device)
    return torch.where(each <= level[:, None], tests * (each + 1), 0)


def updated(level: Tensor, correct: Tensor, trials: Tensor, accept: float) -> Tensor:
    """(C,) levels one higher where the share of correct predictions is above `accept` at every level tested, else one lower.

    correct, trials: (C, levels).
    """
    passed = ((correct.double() / trials > accept) | (trials == 0)).all(1)
    return (level + 2 * passed - 1).clamp(0, trials.shape[1] - 1)


class CUDA(Augment):
    """CUDA, curriculum of data augmentation: strong augmentation only for classes that the network recognises under it.

    Each class has a level, 0 at first. Level l applies l of 22 operations, drawn with replacement, at magnitude l of
    30, to half of the images of the class (`probability`). `magnitude` and `operations` limit both, as in the authors' table.
    Before each epoch, every level l up to the class's own is tested on tests * (l + 1) training images of the class, augmented
    as in training. If the share of correct predictions is above `accept` at all of them, the level rises by one, else it falls
    by one. A class without images keeps level 0. A level is not a strength: 8 operations ignore the magnitude, colours change
    most at level 1, and the longest shift of level 10 is 33 pixels, a whole image.

    On a GPU, each of the `operations` turns runs for all images. Operations and their pixels are those of the authors' code,
    which on images with an odd side returns a smaller crop of an enlarged image; here the side stays.

    Ahn et al., 2023, arXiv 2302.05499.
    """

    accepts = Part.accepts  # a strength follows the label
    acts_from = 1
    level: Tensor
    turns: Tensor
    magnitudes: Tensor
    choices: Tensor
    values: Tensor
    signed: Tensor

    def __init__(
        self,
        probability: float = 0.5,
        magnitude: int = 10,
        operations: int = 10,
        tests: int = 10,
        accept: float = 0.6,
        *,
        num_classes: int,
    ):
        super().__init__()
        if not 0 <= probability <= 1:
            raise ConfigError(f"probability must lie between 0 and 1, got {probability}")
        if not 1 <= magnitude <= LARGEST:
            raise ConfigError(f"magnitude must lie between 1 and {LARGEST}, got {magnitude}")
        if operations < 1:
            raise ConfigError(f"operations must be at least 1, got {operations}")
        if tests < 1:
            raise ConfigError(f"tests must be at least 1 image, got {tests}")
        if not 0 <= accept < 1:
            raise ConfigError(f"accept must be a share of correct predictions, at least 0 and below 1, got {accept}")
        self.probability, self.tests, self.accept, self.most = probability, tests, accept, operations
        turns, magnitudes = strengths(magnitude, operations)
        self.levels, self.level_given = len(turns), None
        values = [[value_of(name, m) for m in range(magnitude + 1)] for name in CHOICES]
        self.register_buffer("level", torch.zeros(num_classes, dtype=torch.long))
        self.register_buffer("turns", torch.tensor(turns), persistent=False)
        self.register_buffer("magnitudes", torch.tensor(magnitudes), persistent=False)
        self.register_buffer("choices", torch.tensor([INDEX[name] for name in CHOICES]), persistent=False)
        self.register_buffer("values", torch.tensor(values, dtype=torch.float64), persistent=False)
        self.register_buffer("signed", torch.tensor([name in SIGNED for name in CHOICES]), persistent=False)

    def forward(self, batch: Batch) -> Batch:
        images, device = batch.inputs, batch.inputs.device
        on = torch.rand(len(batch), device=device) < self.probability
        level = self.level[batch.targets.labels] * on if self.level_given is None else self.level_given
        size = (self.most, len(batch))
        drawn = torch.randint(len(CHOICES), size, device=device)
        negative = torch.rand(size, device=device) > 0.5
        turns, magnitude = self.turns[level], self.magnitudes[level]
        for turn in range(self.most):
            operation = self.choices[drawn[turn]] * (turn < turns)  # 0 is the identity
            value = self.values[drawn[turn], magnitude] * (1 - 2 * (negative[turn] & self.signed[drawn[turn]]).double())
            images = apply(images, operation, value, fill=0)
        return batch.replace(inputs=images)

    @torch.no_grad()
    def adapt(self, view: View) -> None:
        counts = view.stats.counts
        trials = trials_of(self.level.cpu(), self.tests, self.levels) * (counts > 0)[:, None]
        cell = torch.arange(trials.numel()).repeat_interleave(trials.flatten())  # of each test: class * levels + level
        by_class = view.labels.cpu().argsort(stable=True)
        first, label = counts.cumsum(0) - counts, cell // self.levels
        draw = torch.rand(len(cell), generator=view.generator, dtype=torch.float64) * counts[label]
        rows = by_class[first[label] + draw.long()]
        correct = torch.zeros(trials.numel(), dtype=torch.long, device=self.level.device)
        for some, where in zip(rows.split(AT_ONCE), cell.to(correct.device).split(AT_ONCE), strict=True):
            batch = view.open(some)
            self.level_given = where % self.levels
            logits = view.predict(view.augment(batch).inputs).need("logits")
            self.level_given = None
            correct.index_add_(0, where, (logits.argmax(1) == batch.targets.labels).long())
        level = updated(self.level, correct.view_as(trials), trials.to(correct.device), self.accept)
        self.level.copy_(level * (counts > 0).to(level.device))
