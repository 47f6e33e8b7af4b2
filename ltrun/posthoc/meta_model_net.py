"""MetaModelNet: classifier weights of few-shot classes, moved as weights of many-shot classes move with further images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.numerics import widened
from ltrun.parts import Evidence, PostHoc
from ltrun.types import Outputs

NEGATIVES = 512  # images of other classes against which a class is told
STEPS = 200  # of a logistic regression
RATE = 1e-3  # of Adam
TASKS = 256  # weights in one of its steps
AT_ONCE = 2**24  # numbers of the images whose regressions are solved together: 64 MB


def logistic_loss(weights: Tensor, own: Tensor, others: Tensor, apart: Tensor) -> Tensor:
    """(P,): the mean logistic loss of a class's images and of others, each half of it.

    weights: (P, D + 1). own: (P, k, D + 1). others: (M, D + 1). apart: (P, M), which of the others are of another class.
    """
    positive = F.softplus(-torch.einsum("pd,pkd->pk", weights, own)).mean(1)
    negative = F.softplus(weights @ others.T) * apart
    return (positive + negative.sum(1) / apart.sum(1).clamp(min=1)) / 2


def regressions(own: Tensor, others: Tensor, apart: Tensor, ridge: float) -> Tensor:
    """(P, D + 1): the weights of P one-against-rest logistic regressions with `ridge` / 2 times the squared length added.

    Accelerated gradient descent (Nesterov, 1983) at the inverse of the largest curvature.
    """
    size = torch.maximum(own.square().sum(2).amax(1), others.square().sum(1).amax())
    step = 1 / (size / 4 + ridge)[:, None]
    with torch.enable_grad():
        weights = last = own.new_zeros(len(own), own.shape[2])
        for turn in range(STEPS):
            ahead = (weights + turn / (turn + 3) * (weights - last)).requires_grad_()
            (slope,) = torch.autograd.grad(logistic_loss(ahead, own, others, apart).sum(), ahead)
            last, weights = weights, (ahead - step * (slope + ridge * ahead)).detach()
    return weights


class Chain(nn.Module):
    """F_i(w) = F_{i+1}(w + f_i(w)), with F the identity behind the last of the blocks f. length: D + 1."""

    def __init__(self, length: int, blocks: int):
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(length, length), nn.LeakyReLU(), nn.Linear(length, length)) for _ in range(blocks)
        )
        for block in self.blocks:
            last = cast(nn.Linear, cast(nn.Sequential, block)[2])
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, weights: Tensor, entry: Tensor) -> Tensor:
        """weights: (P, D + 1). entry: (P,), the first block of each row."""
        for index, block in enumerate(self.blocks):
            weights = torch.where((entry <= index)[:, None], weights + block(weights), weights)
        return weights


class MetaModelNet(PostHoc):
    """Model transfer from head to tail: moves each class's weights as those of larger classes move when images are added.

    Works on the trained network's features. Each class gets the weights of a one-against-rest logistic regression, from at
    most 2^blocks of its images. Block i of a chain of residual blocks learns, on classes with at least 2^(i+1) images, to take
    weights from 2^i of their images, drawn `draws` times, to the class's own weights; the loss is the mean squared difference
    plus `task_weight` times the moved weights' logistic loss. The last block is learnt first, then each with those behind it. A
    class with n images enters at block floor(log2 n); with 2^blocks images or more it keeps its weights. A class without
    training images is never predicted.

    An adaptation: no code of the authors was found. They train weights of a network's last layer; a block's form (linear,
    leaky ReLU, linear, at first the identity), `blocks`, `draws`, `ridge`, `epochs` (steps of Adam for a block, of 256 weights
    each) and `task_weight` are chosen here. A chain that is trained for long knows the larger classes by heart: on 60 Gaussian
    classes the rarest third gains with 20 steps and loses with 300.

    Wang et al., 2017, NeurIPS 2017.
    """

    sees = frozenset({"train"})
    reads = frozenset({"features"})
    shift: Tensor
    scale: Tensor
    weights: Tensor
    absent: Tensor

    def __init__(
        self,
        blocks: int = 6,
        draws: int = 4,
        ridge: float = 0.01,
        task_weight: float = 1.0,
        epochs: int = 20,
        *,
        num_classes: int,
    ):
        super().__init__()
        if not 1 <= blocks <= 10:
            raise ConfigError(f"blocks must be from 1 to 10, got {blocks}")
        if not 1 <= draws <= 100:
            raise ConfigError(f"draws must be from 1 to 100, got {draws}")
        if ridge <= 0 or task_weight < 0 or epochs < 0:
            raise ConfigError(
                f"ridge, task_weight, epochs must be above 0, at least 0, 0, got {ridge}, {task_weight}, {epochs}"
            )
        self.depth, self.draws, self.ridge, self.task_weight, self.epochs = blocks, draws, ridge, task_weight, epochs
        self.num_classes = num_classes
        for name in ("shift", "scale", "weights", "absent"):
            self.register_buffer(name, torch.empty(0))

    def fit(self, splits: Mapping[str, Evidence]) -> None:
        features, labels = splits["train"].outputs().need("features"), splits["train"].labels
        counts = torch.bincount(labels, minlength=self.num_classes)
        # One more draw than `draws`: of it, all of a class's images count.
        order = torch.rand(self.draws + 1, len(labels)).argsort(1)
        by_class = order.gather(1, labels[order].argsort(dim=1, stable=True))  # images by class, shuffled within
        first = counts.cumsum(0) - counts
        chosen = torch.multinomial((1 / counts.clamp(min=1))[labels], NEGATIVES, replacement=True)
        self.shift = features.float().mean(0)
        others = features[chosen].float() - self.shift
        self.scale = others.square().sum(1).mean().sqrt().clamp(min=1e-12)
        others = self._extended(features[chosen])

        every, most = torch.arange(self.num_classes), 2**self.depth
        apart = (every[:, None] != labels[chosen]).to(others)

        def images(classes: Tensor, draw: Tensor, number: Tensor, length: int) -> Tensor:
            """(K, length, D + 1): images of each class, the first `number` (K,) of a draw (K,) over and over."""
            within = first[classes, None] + torch.arange(length) % number[:, None]
            return self._extended(features[by_class[draw[:, None], within.clamp(max=len(labels) - 1)]])

        def solved(classes: Tensor, draw: Tensor, number: Tensor, length: int) -> Tensor:
            """(K, D + 1): the weights of each class from these images; as many classes at a time as memory allows."""
            pieces = torch.arange(len(classes)).split(max(1, AT_ONCE // (length * others.shape[1])))
            rows = [(classes[piece], draw[piece], number[piece]) for piece in pieces]
            return torch.cat([regressions(images(*row, length), others, apart[row[0]], self.ridge) for row in rows])

        whole, several = torch.full_like(every, self.draws), counts.clamp(1, most)
        full = solved(every, whole, several, most)
        size = full.square().mean().sqrt().clamp(min=1e-12)
        levels = []  # of each block: classes, and their weights from few images in units of `size`
        for level in range(self.depth):
            large, few = every[counts >= 2 ** (level + 1)], 2**level
            classes, draws = large.repeat(self.draws), torch.arange(self.draws).repeat_interleave(len(large))
            levels.append((classes, solved(classes, draws, torch.full_like(classes, few), few) / size))
        chain = Chain(full.shape[1], self.depth)

        def loss(weights: Tensor, classes: Tensor, entry: Tensor) -> Tensor:
            moved = chain(weights, entry)
            own = images(classes, whole[classes], several[classes], most)
            task = logistic_loss(size * moved, own, others, apart[classes])
            return ((moved - full[classes] / size).square().mean(1) + self.task_weight * task).sum() / max(1, len(classes))

        self._train(chain, levels, loss)
        with torch.no_grad():
            self.weights = size * chain(full / size, counts.clamp(min=1).float().log2().floor().long())
        self.absent = counts == 0

    def _train(
        self, chain: Chain, levels: list[tuple[Tensor, Tensor]], loss: Callable[[Tensor, Tensor, Tensor], Tensor]
    ) -> None:
        """Learns the blocks from the last to the first, each with those behind it."""
        with torch.enable_grad():
            for block in reversed(range(self.depth)):
                classes, weights = (torch.cat(some) for some in zip(*levels[block:], strict=True))
                entry = torch.cat([torch.full((len(own),), block + index) for index, (own, _) in enumerate(levels[block:])])
                optimizer = torch.optim.Adam(chain.parameters(), RATE)
                for _ in range(self.epochs):
                    tasks = torch.rand(len(classes)).argsort()[:TASKS]
                    optimizer.zero_grad()
                    loss(weights[tasks], classes[tasks], entry[tasks]).backward()
                    optimizer.step()

    def _extended(self, features: Tensor) -> Tensor:
        """(..., D + 1): features about the mean of all, of mean squared length 1, and a 1 for the bias."""
        scaled = (widened(features) - self.shift) / self.scale
        return torch.cat([scaled, torch.ones_like(scaled[..., :1])], -1)

    def forward(self, outputs: Outputs) -> Tensor:
        scores = self._extended(outputs.need("features")) @ self.weights.T
        return scores.masked_fill(self.absent, torch.finfo(scores.dtype).min)
