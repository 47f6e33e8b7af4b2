"""Realistic taxonomic classifier (Deep-RTC): a tree of classifiers that may stop at a superclass."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ltrun.classifier.taxonomy import Tree, children_of, tree_of
from ltrun.errors import ConfigError
from ltrun.numerics import widened
from ltrun.parts import Head, Network, Part, Term
from ltrun.types import ClassStats, Outputs, Streams

CAP = 10.0  # of the logits in training
LEAST = 1e-17  # of the sum of exponentials


def _extended(rows: Tensor, value: float) -> Tensor:
    """(B, N + 1): rows (B, N) with a further column of one value, at which the places beyond a path point."""
    return F.pad(rows, (0, 1), value=value)


def class_logits(edges: Tensor, gates: Tensor, tree: Tree) -> Tensor:
    """(B, C): the sum of the edges' logits on the path to a class, as far as all inner nodes before them are open.

    edges: (B, E). gates: (B, V), 1 for an open and 0 for a closed inner node.
    """
    opened = _extended(gates, 1.0)[:, tree.nodes].cumprod(dim=2)
    return (_extended(edges, 0.0)[:, tree.paths] * opened).sum(dim=2)


def node_normalisers(edges: Tensor, tree: Tree) -> Tensor:
    """(B, V): the log of the sum of exponentials over the edges (B, E) of each inner node."""
    return _extended(edges, -math.inf)[:, tree.choices].logsumexp(dim=2)


def node_loss(edges: Tensor, labels: Tensor, tree: Tree) -> Tensor:
    """A scalar: the mean, over all inner nodes on the paths to the labels (B,), of the cross-entropy over their children."""
    nodes, paths = tree.nodes[labels], tree.paths[labels]
    losses = _extended(node_normalisers(edges, tree), 0.0).gather(1, nodes) - _extended(edges, 0.0).gather(1, paths)
    return losses.sum() / (nodes < len(tree.choices)).sum()


def tree_loss(edges: Tensor, labels: Tensor, gates: Tensor, tree: Tree) -> Tensor:
    """A scalar: the mean cross-entropy over the leaves that the gates (B, V) leave; the root's gate is 1.

    The classes below a closed node have one logit, and count once. Logits are at most 10.
    """
    logits = class_logits(edges, gates, tree).clamp(max=CAP)
    counted = (_extended(gates, 1.0)[:, tree.hidden] > 0).all(dim=2)
    total = logits.masked_fill(~counted, -math.inf).logsumexp(dim=1).clamp(min=math.log(LEAST))
    return (total - logits.gather(1, labels[:, None])[:, 0]).mean()


def confident(edges: Tensor, threshold: float, tree: Tree) -> Tensor:
    """(B, V): 1 for an inner node whose likeliest child has at least the probability `threshold`, 0 for others."""
    largest = _extended(edges, -math.inf)[:, tree.choices].amax(dim=2)
    return ((largest - node_normalisers(edges, tree)).exp() >= threshold).to(edges.dtype)


class Taxonomic(Head):
    """A linear classifier over the children of each superclass; a class's logit is the sum along its path from the root.

    superclasses: superclass -> names of its classes, or further superclasses; the data set's own unless given. threshold: in
    evaluation a path ends at the first superclass whose likeliest child has a smaller probability; all classes below it then
    have one logit, so that the answer is the superclass. With 0 each path ends at a class. `classes` holds the sums of the
    weights along the paths.

    Wu et al., 2020, arXiv 2007.09898.
    """

    accepts = Part.accepts  # a path to one leaf
    provides = frozenset({"taxonomy"})
    choices: Tensor
    paths: Tensor
    nodes: Tensor
    hidden: Tensor

    def __init__(
        self, superclasses: Mapping[str, Any] | None = None, threshold: float = 0.0, *, features: int, stats: ClassStats
    ):
        super().__init__()
        if not 0 <= threshold <= 1:
            raise ConfigError(f"threshold must lie between 0 and 1, got {threshold}")
        self.threshold = threshold
        tree = tree_of(children_of(superclasses, stats.names))
        self.edges = tree.edges
        for name, tensor in tree._asdict().items():
            if name != "edges":
                self.register_buffer(name, tensor, persistent=False)
        self.weight, self.bias = nn.Parameter(torch.empty(tree.edges, features)), nn.Parameter(torch.zeros(tree.edges))
        nn.init.kaiming_normal_(self.weight)

    @property
    def tree(self) -> Tree:
        return Tree(self.edges, self.choices, self.paths, self.nodes, self.hidden)

    def edge_logits(self, features: Tensor) -> Tensor:
        """(B, E): the logit of each child of each inner node, for features (B, D)."""
        return F.linear(features, self.weight, self.bias)

    def forward(self, features: Tensor) -> Tensor:
        edges, tree = self.edge_logits(features), self.tree
        if self.training or self.threshold == 0:
            return class_logits(edges, edges.new_ones(len(edges), len(self.choices)), tree)
        return class_logits(edges, confident(edges, self.threshold, tree), tree)

    @property
    def classes(self) -> Tensor:
        return F.pad(self.weight, (0, 0, 0, 1))[self.paths].sum(dim=1)


class DeepRTC(Term):
    """Deep-RTC's loss, the whole classification loss: `node_loss` + `weight` * `tree_loss` with inner nodes closed at random.

    Each inner node but the root is closed with probability `closed`, anew for each image, so that superclasses that stand for
    their classes are trained too. The loss reads the features by classifier=realistic_taxonomic.

    Wu et al., 2020, arXiv 2007.09898.
    """

    reads = frozenset({"features", "logits", "head", "taxonomy"})
    mixed = False

    def __init__(self, weight: float = 1.0, closed: float = 0.1, *, network: Network):
        super().__init__()
        if weight < 0 or not 0 <= closed < 1:
            raise ConfigError(f"weight must not be negative, closed at least 0 and below 1, got {weight} and {closed}")
        self.weight, self.closed = weight, closed
        self.held = (network,)  # a plain tuple, because the network saves its own parameters

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        (network,) = self.held
        head = cast(Taxonomic, network.get_submodule(network.head_names()[0]))
        edges, labels = head.edge_logits(widened(outputs["main"].need("features"))), streams["main"].targets.labels
        drawn = torch.rand(len(edges), len(head.choices) - 1, device=edges.device) >= self.closed
        gates = F.pad(drawn.to(edges.dtype), (1, 0), value=1.0)
        return node_loss(edges, labels, head.tree) + self.weight * tree_loss(edges, labels, gates, head.tree)
