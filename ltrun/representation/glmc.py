"""GLMC: global and local mixtures of two views, a loss that shifts to class weights, and consistency of the views."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ltrun.augmentation.mixup import beta_of, draw_share
from ltrun.errors import ConfigError
from ltrun.loss import Classification
from ltrun.network.bilateral import alpha
from ltrun.numerics import in_float32, widened
from ltrun.parts import Mixer, Term
from ltrun.targets import one_label
from ltrun.types import Batch, ClassStats, Labels, Outputs, Streams, View, as_rarest


def local_box(height: int, width: int, keep: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """(H, W) mask of a box around the pixel (y, x), clipped at the edges.

    Its sides are sqrt(1 - keep) of the image's, rounded up, then twice their half rounded down. keep, y, x: scalar tensors.
    """
    ratio = (1 - keep).sqrt()
    half_height, half_width = ((side * ratio).ceil().long() // 2 for side in (height, width))
    rows = torch.arange(height, device=keep.device)[:, None] - y
    columns = torch.arange(width, device=keep.device) - x
    return (rows >= -half_height) & (rows < half_height) & (columns >= -half_width) & (columns < half_width)


class GlobalLocalMixture(Mixer):
    """Mixes `main` with `partner` as mixup does, and pastes a box of `second_partner` onto `second`, with one share for both.

    keep ~ Beta(alpha, alpha), drawn once per batch; the box's sides are sqrt(1 - keep) of the image's, its centre uniform. Both
    labels weigh keep and 1 - keep in both, whatever area the clipped box has, as in the authors' code.

    Du et al., 2023, arXiv 2305.08661.
    """

    streams = ("main", "second", "partner", "second_partner")
    alpha: Tensor

    def __init__(self, alpha: float = 1.0):
        super().__init__()
        self.register_buffer("alpha", beta_of(alpha), persistent=False)

    def forward(self, streams: Streams) -> dict[str, Batch]:
        main, second, partner, other = (streams[name] for name in self.streams)
        device, (height, width) = main.inputs.device, main.inputs.shape[-2:]
        keep = draw_share(self.alpha)
        y, x = torch.randint(height, (), device=device), torch.randint(width, (), device=device)
        blend = keep * main.inputs + (1 - keep) * partner.inputs
        paste = torch.where(local_box(height, width, keep, y, x), other.inputs, second.inputs)
        targets = main.targets.mix(partner.targets, keep.expand(len(main)))
        return {
            **streams,
            "main": main.replace(inputs=blend, targets=targets),
            "second": second.replace(inputs=paste, targets=targets),
        }


def consistency(predictions: tuple[Tensor, Tensor], projections: tuple[Tensor, Tensor]) -> Tensor:
    """A scalar: -cos(p_1, z_2) - cos(p_2, z_1), means over the rows. Projections z (B, P) get no gradient."""
    (p, other_p), (z, other_z) = predictions, projections
    return -F.cosine_similarity(p, other_z.detach()).mean() - F.cosine_similarity(other_p, z.detach()).mean()


class GLMC(Term):
    """Global and local mixture consistency, for a network with two heads, of which the second predicts.

    a * loss of the first head + (1 - a) * loss of the second head, whose labels weigh n ** -power, scaled to a sum of C; both
    summed over views `main` and `second`; plus `contrast` times `consistency`. a = 1 - (epoch / epochs) ** 2. Losses are the
    run's classification loss. dim: of the projector and the predictor, linear layers without norm that this part holds.

    Du et al., 2023, arXiv 2305.08661.
    """

    streams = ("main", "second")
    reads = frozenset({"features", "experts"})
    balances = True
    acts_from = 1
    weights: Tensor
    alpha: Tensor

    def __init__(
        self,
        power: float = 1.2,
        contrast: float = 4.0,
        dim: int = 128,
        *,
        classify: Classification,
        stats: ClassStats,
        features: int,
    ):
        super().__init__()
        if contrast < 0 or dim < 1:
            raise ConfigError(f"contrast must not be negative and dim must be at least 1, got {contrast} and {dim}")
        self.classify, self.contrast = classify, contrast
        weights = as_rarest(stats.counts).double() ** -power
        self.register_buffer("weights", (weights / weights.mean()).float(), persistent=False)
        self.register_buffer("alpha", torch.ones(()))
        self.projector, self.predictor = nn.Linear(features, dim), nn.Linear(dim, dim)

    def adapt(self, view: View) -> None:
        self.alpha.fill_(alpha(view.clock.epoch, view.clock.epochs))

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        views = [outputs[name] for name in self.streams]
        losses = [self._loss(view, one_label(streams[name].targets)) for view, name in zip(views, self.streams, strict=True)]
        projected = [in_float32(self.projector, view.need("features")) for view in views]
        predicted = [in_float32(self.predictor, each) for each in projected]
        return torch.stack(losses).sum() + self.contrast * consistency(
            (predicted[0], predicted[1]), (projected[0], projected[1])
        )

    def _loss(self, view: Outputs, targets: Labels) -> Tensor:
        first, second = (widened(logits) for logits in view.need("experts").unbind())
        weighted = Labels(targets.index, targets.weight * self.weights[targets.index])
        plain, balanced = self.classify.loss(first, targets, view), self.classify.loss(second, weighted, view)
        return self.alpha * plain + (1 - self.alpha) * balanced
