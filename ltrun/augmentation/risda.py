"""RISDA: semantic augmentation of tail classes along the directions of the classes that they are confused with."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ltrun.augmentation.isda import isda_logits
from ltrun.augmentation.moments import Covariance, Moments, RunningMoments
from ltrun.errors import ConfigError
from ltrun.numerics import widened
from ltrun.parts import Adjust
from ltrun.types import ClassStats, Outputs, Streams, View

CHUNK = 500  # images of the training set that pass through the network at once


def knowledge_graph(confusions: Tensor) -> Tensor:
    """(C, C): the share of class c's images that are taken for class j, its own included, rounded to 2 decimals.

    confusions: (C, C) images of class c that are taken for class j. The row of a class without images is 0.
    """
    return (confusions / confusions.sum(dim=1, keepdim=True).clamp(min=1)).round(decimals=2)


def risda_logits(
    logits: Tensor,
    labels: Tensor,
    head: Tensor,
    covariances: Tensor,
    directions: Tensor,
    alpha: Tensor | float,
    beta: Tensor | float,
) -> Tensor:
    """(B, C): z_j + beta / 2 * (w_j - w_y)^T S_y (w_j - w_y) + alpha * (w_j - w_y)^T d_y for a row of class y.

    head: (C, D) class weights w. covariances: (C, D, D), or (C, D) diagonals. directions: (C, D) d.
    """
    borrowed = directions[labels]
    shift = borrowed @ head.T - (borrowed * head[labels]).sum(dim=1, keepdim=True)
    return isda_logits(logits, labels, head, covariances, beta) + alpha * shift


class RISDA(Adjust):
    """Reasoning-based implicit semantic augmentation: tail classes borrow means and covariances from similar classes.

    Before the first epoch of its stage it reads the training images, augmented as in training, in evaluation mode: K, the
    confusion matrix (see knowledge_graph), and the class means m. The borrowed direction of a class is d = K m - m. Classes
    outside the `head_share` of the largest ones replace their running covariance by sum_j K_cj S_j, in every step and for good,
    as in the authors' code, so that it tends to the covariances of head classes. `alpha` and `beta` grow linearly over the
    stage from `initial` times their value: the authors' grow from epoch 0 of 200, and the stage begins at epoch 160.

    alpha = 1: the authors have 0.5 and add alpha * d to the features and once more to the logits, which gives the same loss as
    twice alpha in the logits alone. beta = 0.75 is for imbalance 100, 1 for 200. Differences: the authors keep K of the epoch
    with the best training accuracy; here K and m are of the network that the stage begins with. Their head is 20 of 100 classes
    by index; here it is a share of the classes by count. Their covariances are of features shifted by alpha * d, which is the
    same but for the growth of alpha. covariance: see RunningMoments.

    Chen et al., 2022, arXiv 2112.07928.
    """

    reads = frozenset({"logits", "features", "head", "products"})
    tail: Tensor
    graph: Tensor
    directions: Tensor
    strengths: Tensor
    now: Tensor

    def __init__(
        self,
        alpha: float = 1.0,
        beta: float = 0.75,
        head_share: float = 0.2,
        initial: float = 0.8,
        covariance: Covariance | None = None,
        *,
        stats: ClassStats,
        features: int,
    ):
        super().__init__()
        if alpha < 0 or beta < 0:
            raise ConfigError(f"alpha and beta must not be negative, got {alpha} and {beta}")
        if not 0 <= head_share <= 1 or not 0 <= initial <= 1:
            raise ConfigError(f"head_share and initial must lie between 0 and 1, got {head_share} and {initial}")
        classes = stats.num_classes
        self.initial = initial
        self.moments = RunningMoments(classes, features, covariance)
        rank = stats.counts.argsort(descending=True, stable=True).argsort()
        self.register_buffer("tail", (rank >= int(head_share * classes))[:, None])
        self.register_buffer("graph", torch.eye(classes))  # K of tail classes; the row of a head class is its own
        self.register_buffer("directions", torch.zeros(classes, features))
        self.register_buffer("strengths", torch.tensor([alpha, beta]), persistent=False)
        self.register_buffer("now", initial * self.strengths)

    @torch.no_grad()
    def adapt(self, view: View) -> None:
        self.now.copy_(self.strengths * (self.initial + (1 - self.initial) * view.clock.progress))
        if view.clock.epoch:
            return
        confusions, sums = torch.zeros_like(self.graph), torch.zeros_like(self.directions)
        classes = torch.arange(len(confusions), device=confusions.device)[:, None]
        for rows in torch.arange(len(view.labels)).split(CHUNK):
            batch = view.augment(view.open(rows))
            outputs = view.predict(batch.inputs)
            own = (batch.targets.labels == classes).to(sums.dtype)  # (C, N)
            taken = (outputs.need("logits").argmax(dim=1) == classes).to(sums.dtype)
            confusions += own @ taken.T
            sums += own @ widened(outputs.need("features"))
        graph = knowledge_graph(confusions)
        means = sums / confusions.sum(dim=1, keepdim=True).clamp(min=1)
        self.directions.copy_(graph @ means - means)
        self.graph.copy_(torch.where(self.tail, graph, torch.eye(len(graph), device=graph.device)))

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        covariances = self.borrowed(self.moments.with_batch(outputs, labels)).covariances
        alpha, beta = self.now
        return risda_logits(widened(logits), labels, widened(outputs.need("head")), covariances, self.directions, alpha, beta)

    def after_step(self, outputs: Mapping[str, Outputs], streams: Streams) -> None:
        self.moments.store(self.borrowed(self.moments.with_step(outputs["main"], streams)))

    def borrowed(self, moments: Moments) -> Moments:
        """Returns the moments in which tail classes have the covariances of the classes that they are taken for."""
        flat = moments.covariances.flatten(1)
        return moments._replace(covariances=(self.graph.to(flat.dtype) @ flat).view_as(moments.covariances))
