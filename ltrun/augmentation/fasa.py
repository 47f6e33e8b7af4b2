"""FASA: virtual features of rare classes, drawn from class means and variances at rates that adapt between epochs."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.numerics import widened
from ltrun.parts import Network, Term
from ltrun.types import ClassStats, Outputs, Streams, View, as_rarest

MOST = 256  # classes with a virtual feature in one step


def class_moments(features: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """(C, D) means, (C, D) variances and (C,) numbers of the rows of each class.

    Variances divide by the number less 1, and are 0 for a single row. features: (B, D). labels: (B,).
    """
    number = features.new_zeros(num_classes).index_add(0, labels, features.new_ones(len(labels)))
    empty = features.new_zeros(num_classes, features.shape[1])
    mean = empty.index_add(0, labels, features) / number[:, None].clamp(min=1)
    square = empty.index_add(0, labels, (features - mean[labels]).square())
    return mean, square / (number[:, None] - 1).clamp(min=1), number


def groups(means: Tensor) -> Tensor:
    """(C,) group of each class, by affinity propagation on the negative squared distances of the class means (C, D).

    Frey and Dueck, 2007. A class is a group of its own where the propagation does not converge.
    """
    from sklearn.cluster import AffinityPropagation
    from sklearn.exceptions import ConvergenceWarning

    points = means.double().cpu().numpy()
    square = np.square(points).sum(1)
    similarity = 2 * points @ points.T - square[:, None] - square
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", message="All samples have mutually equal similarities")
        found = AffinityPropagation(affinity="precomputed", random_state=0).fit(similarity).labels_
    alone = len(points) + np.arange(len(points))
    return torch.from_numpy(np.where(found < 0, alone, found)).to(means.device)


def adapted_rates(rates: Tensor, change: Tensor, group: Tensor, up: float, down: float) -> Tensor:
    """(C,): the rates of a group times `up` where its summed loss fell, times `down` where it rose; from 0 to 1.

    change: (C,) new loss less old loss. group: (C,) numbers below 2 C.
    """
    whole = change.new_zeros(2 * len(change)).index_add(0, group, change)[group]
    factor = torch.where(whole < 0, up, torch.where(whole > 0, down, torch.ones_like(whole)))
    return (rates * factor).clamp(0, 1)


class FASA(Term):
    """Feature augmentation and sampling adaptation: cross-entropy of virtual features, which trains the classifier alone.

    A running mean and variance of each class's features take in the class's rows of a batch with a share `renewal`, its first
    rows whole. From the second epoch on, a step draws one feature of each class c that was seen with probability p_c, from the
    normal distribution with these moments; the term is the mean cross-entropy of these features, 0 without any. p_c starts at
    (1 / n_c) / sum(1 / n): one virtual feature a step on average. Between epochs classes are grouped by affinity propagation on
    their means; all p of a group are multiplied by `up` if the group's summed loss fell, by `down` if it rose.

    The authors measure the loss of a class on held-out images; here it is the mean cross-entropy of the class's training rows
    in the epoch, without further data. Their file gives squared distances where the clustering expects similarities; here they
    are negated. At most 256 classes, drawn at random, have a virtual feature in one step. Grouping 8,142 classes takes minutes.
    Margins, weights and logit adjustments of the run do not enter the term.

    Zang et al., 2021, arXiv 2102.12867.
    """

    reads = frozenset({"features", "logits", "head"})
    mixed = False
    acts_from = 1
    mean: Tensor
    variance: Tensor
    seen: Tensor
    rates: Tensor
    losses: Tensor
    rows: Tensor
    previous: Tensor
    active: Tensor

    def __init__(
        self,
        renewal: float = 0.1,
        up: float = 1.1,
        down: float = 0.9,
        *,
        stats: ClassStats,
        features: int,
        network: Network,
    ):
        super().__init__()
        if not 0 < renewal <= 1:
            raise ConfigError(f"renewal must be above 0 and at most 1, got {renewal}")
        if up < 1 or not 0 < down <= 1:
            raise ConfigError(f"up, down must be at least 1, and above 0 and at most 1, got {up}, {down}")
        self.renewal, self.up, self.down, self.held = renewal, up, down, (network,)
        rare, classes = 1 / as_rarest(stats.counts).double(), stats.num_classes
        self.register_buffer("rates", (rare / rare.sum()).float())
        for name, shape in {"mean": (classes, features), "variance": (classes, features), "losses": (classes,)}.items():
            self.register_buffer(name, torch.zeros(shape))
        self.register_buffer("rows", torch.zeros(classes))
        self.register_buffer("previous", torch.full((classes,), -1.0))  # below 0: no loss is known
        self.register_buffer("seen", torch.zeros(classes, dtype=torch.bool))
        self.register_buffer("active", torch.tensor(False))

    @torch.no_grad()
    def adapt(self, view: View) -> None:
        self.active.fill_(view.clock.epoch > 0)
        now = torch.where(self.rows > 0, self.losses / self.rows.clamp(min=1), self.previous)
        change = torch.where((self.previous < 0) | (now < 0), 0.0, now - self.previous)
        if bool((change != 0).any()):
            self.rates.copy_(adapted_rates(self.rates, change, groups(self.mean), self.up, self.down))
        self.previous.copy_(now)
        self.losses.zero_()
        self.rows.zero_()

    def _moments(self, output: Outputs, streams: Streams) -> tuple[Tensor, Tensor, Tensor]:
        """Returns means, variances and seen classes with a batch's rows taken in."""
        mean, variance, number = class_moments(
            output.need("features").detach().to(self.mean.dtype), streams["main"].targets.labels, len(self.rates)
        )
        present = number > 0
        share = torch.where(present, torch.where(self.seen, self.renewal, 1.0), 0.0)[:, None].to(mean.dtype)
        return self.mean.lerp(mean, share), self.variance.lerp(variance, share), self.seen | present

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        mean, variance, seen = self._moments(outputs["main"], streams)
        draw = torch.rand(len(seen), device=seen.device)
        fires = (draw < self.rates) & seen & self.active
        order = torch.where(fires, torch.rand(len(seen), device=seen.device), 2.0).argsort()[:MOST]
        virtual = mean[order] + variance[order].sqrt() * torch.randn_like(mean[order])
        counted = fires[order].to(virtual.dtype)
        logits = widened(self.held[0].decide(virtual).need("logits"))
        return (F.cross_entropy(logits, order, reduction="none") * counted).sum() / counted.sum().clamp(min=1)

    @torch.no_grad()
    def after_step(self, outputs: Mapping[str, Outputs], streams: Streams) -> None:
        output, labels = outputs["main"], streams["main"].targets.labels
        for buffer, value in zip((self.mean, self.variance, self.seen), self._moments(output, streams), strict=True):
            buffer.copy_(value)
        losses = F.cross_entropy(output.need("logits").to(self.losses.dtype), labels, reduction="none")
        self.losses.index_add_(0, labels, losses)
        self.rows.index_add_(0, labels, torch.ones_like(losses))
