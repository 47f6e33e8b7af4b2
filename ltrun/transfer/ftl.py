"""FTL: virtual tail-class features, with the variation of head-class features about their class centres."""

from __future__ import annotations

import torch
from torch import Tensor

from ltrun.augmentation.ofa import known_head, look
from ltrun.errors import ConfigError
from ltrun.parts import FeatureMixer
from ltrun.types import Batch, ClassStats, Streams, View


def principal_projection(covariance: Tensor, energy: float) -> Tensor:
    """(D, D): Q Q^T, with Q the leading eigenvectors of a covariance (D, D) that hold a share `energy` of its trace."""
    values, vectors = torch.linalg.eigh(covariance)
    values, vectors = values.clamp(min=0).flip(0), vectors.flip(1)
    kept = values.cumsum(0) - values < energy * values.sum()
    return (vectors * kept) @ vectors.T


def transferred(features: Tensor, centres: Tensor, new_centres: Tensor, projection: Tensor) -> Tensor:
    """(B, D): new_centres + Q Q^T (features - centres). All but the projection (D, D) are (B, D)."""
    return new_centres + (features - centres) @ projection


class FTL(FeatureMixer):
    """Feature transfer: replaces features of tail classes by their class centre plus the variation of a head-class feature.

    A row of `main` of a tail class is replaced with probability `share`, if the row beside it in the stream `source` is of a
    head class: by centre_tail + Q Q^T (f_source - centre_source), without gradient. Q holds the leading principal directions of
    the head classes' training features about their class centres, with `energy` of their variance. Centres and Q are computed
    before each epoch from the whole training set, in evaluation mode. head_share: as in OFA.

    An adaptation of a method for faces, without its code. The authors alternate between a classifier on fixed features and
    features under a fixed classifier, beside an auto-encoder and a penalty on the length of features; here the classifier is
    trained on the fixed features of a trained network (decoupling=ftl). Their head classes have more than 20 images each, and
    they keep 150 of 320 directions.

    Yin et al., 2019, arXiv 1803.09014.
    """

    streams = ("main", "source")
    points = ("features",)
    head: Tensor
    centres: Tensor
    projection: Tensor

    def __init__(
        self,
        share: float = 0.5,
        energy: float = 0.95,
        head_share: float = 0.9,
        *,
        stats: ClassStats,
        features: int,
    ):
        super().__init__()
        if not 0 <= share <= 1:
            raise ConfigError(f"share must lie between 0 and 1, got {share}")
        if not 0 < energy <= 1:
            raise ConfigError(f"energy must be above 0 and at most 1, got {energy}")
        self.share, self.energy = share, energy
        self.register_buffer("head", known_head(stats, head_share))
        self.register_buffer("centres", torch.zeros(stats.num_classes, features))
        self.register_buffer("projection", torch.zeros(features, features))

    @torch.no_grad()
    def adapt(self, view: View) -> None:
        device, (classes, width) = self.centres.device, self.centres.shape
        sums = torch.zeros(classes, width, dtype=torch.float64, device=device)
        products = torch.zeros(width, width, dtype=torch.float64, device=device)  # of head-class features
        for labels, outputs in look(view):
            features = outputs.need("features").double()
            sums.index_add_(0, labels, features)
            own = features * self.head[labels][:, None]
            products += own.T @ own
        counts = view.stats.counts.to(device)[:, None]
        centres = sums / counts.clamp(min=1)
        among = centres * self.head[:, None]
        covariance = products - (counts * among).T @ among
        self.centres.copy_(centres)
        self.projection.copy_(principal_projection(covariance.cpu(), self.energy))

    def forward(self, streams: Streams, point: str) -> tuple[dict[str, Batch], dict[str, Tensor]]:
        main, source = streams["main"], streams["source"]
        target, given = main.targets.labels, source.targets.labels
        shape = main.inputs.shape  # (B, D), or (B, E, D) of several experts
        centres = self.centres.to(main.inputs.dtype)
        projection = self.projection.to(centres.dtype)
        virtual = transferred(source.inputs.detach().flatten(1), centres[given], centres[target], projection)
        chosen = ~self.head[target] & self.head[given] & (torch.rand(len(main), device=target.device) < self.share)
        inputs = torch.where(chosen[:, None], virtual, main.inputs.flatten(1)).view(shape)
        return {name: batch for name, batch in streams.items() if name != "source"} | {"main": main.replace(inputs=inputs)}, {}
