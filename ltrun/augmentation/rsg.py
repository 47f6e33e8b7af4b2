"""RSG: rare-class maps generated from the variation of head-class maps about their class centres."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.numerics import widened
from ltrun.parts import FeatureMixer, Network
from ltrun.reweighting.deferred import fraction_of_stage
from ltrun.types import Batch, ClassStats, Streams, View


def assignments(maps: Tensor, linear: Tensor, bias: Tensor, labels: Tensor) -> Tensor:
    """(N, K): how much each row belongs to each centre of its class, from its mean pixel.

    maps: (N, D, H, W). linear: (C, D, K). bias: (C, K).
    """
    return (torch.einsum("nd,ndk->nk", maps.mean((2, 3)), linear[labels]) + bias[labels]).softmax(1)


def centre_loss(maps: Tensor, centres: Tensor, gamma: Tensor, labels: Tensor) -> Tensor:
    """A scalar: the mean over rows of sum_k gamma_k * |map - centre_k|^2, summed over all entries. centres: (C, K, D)."""
    pixels, own = maps.shape[2] * maps.shape[3], centres[labels]
    mean, square = maps.mean((2, 3)), maps.square().sum((1, 2, 3))
    distances = square[:, None] + pixels * (own.square().sum(2) - 2 * torch.einsum("nd,nkd->nk", mean, own))
    return (gamma * distances).sum(1).mean()


def pairs(head: Tensor, strength: float) -> tuple[Tensor, Tensor, Tensor]:
    """(N,) head rows and (N,) tail rows of the pairs in order, and the number of pairs, of which the last ones are left out.

    head: (N,), which rows are of head classes. With as many head as tail rows or more there are max(1, int(heads * strength /
    tails)) rounds, each of all tail rows with the next head rows; otherwise the same with the roles exchanged.
    """
    first = torch.arange(len(head), device=head.device)
    heads, tails = (~head).long().argsort(stable=True), head.long().argsort(stable=True)
    many = head.sum()
    few = len(head) - many
    fewer, more = torch.minimum(many, few), torch.maximum(many, few)
    rounds = (more.double() * strength / fewer.clamp(min=1)).floor().clamp(min=1)
    cycled = first % fewer.clamp(min=1)
    exchanged = many < few
    return heads[torch.where(exchanged, cycled, first)], tails[torch.where(exchanged, first, cycled)], (rounds * fewer).long()


def vector_losses(moved: Tensor, head: Tensor, tail: Tensor) -> Tensor:
    """(N,): the sum of | |moved| - |head| | and of |tail * moved - 1|, the latter two of unit length.

    All three are (N, D, H, W) differences from centres. Lengths are of chunks of D consecutive entries, as in the authors'
    code, and the products are elementwise.
    """
    moved, head, tail = (x.flatten(1).unflatten(1, (-1, x.shape[1])) for x in (moved, head, tail))
    lengths = (moved.norm(dim=2) - head.norm(dim=2)).abs().sum(1)
    return lengths + (F.normalize(tail, dim=2) * F.normalize(moved, dim=2) - 1).abs().sum((1, 2))


class Pairs(nn.Module):
    """The network that tells whether two maps are of one class: (N, 2 D, H, W) -> (N, 2) logits."""

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.reduce, self.mix = nn.Conv2d(2 * channels, width, 1), nn.Conv2d(width, width, 3, padding=1)
        self.linear = nn.Linear(width, 2)

    def forward(self, maps: Tensor, frozen: Tensor) -> Tensor:
        """frozen: a boolean scalar; where it is true, the network's own parameters get no gradient."""

        def own(layer: nn.Conv2d | nn.Linear) -> tuple[Tensor, Tensor]:
            assert layer.bias is not None
            return torch.where(frozen, layer.weight.detach(), layer.weight), torch.where(
                frozen, layer.bias.detach(), layer.bias
            )

        mixed = F.conv2d(F.relu(F.conv2d(maps, *own(self.reduce))), *own(self.mix), padding=1)
        return F.linear(mixed.mean((2, 3)), *own(self.linear))


class Generator(nn.Module):
    """RSG's parameters and arithmetic. channels: D, of a map. centres: K, of a class. width: of the network of pairs."""

    def __init__(self, num_classes: int, channels: int, centres: int, width: int):
        super().__init__()
        self.linear = nn.Parameter(torch.randn(num_classes, channels, centres))
        self.bias = nn.Parameter(torch.ones(num_classes, centres))
        self.centres = nn.Parameter(torch.zeros(num_classes, centres, channels))
        self.transform = nn.Conv2d(channels, channels, 3, padding=1)
        self.pairs = Pairs(channels, width)

    def forward(
        self, maps: Tensor, labels: Tensor, head: Tensor, strength: float, generates: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Returns (N, D, H, W) new maps, the (N,) tail rows whose labels they have, their number, and the two losses.

        maps: (N, D, H, W), from which no gradient passes on. head: (N,) rows of head classes. generates: a boolean scalar;
        where it is false, the number is 0, and the network of pairs learns.
        """
        maps, rows = maps.detach(), len(maps)
        gamma = assignments(maps, self.linear, self.bias, labels)
        heads, tails, number = pairs(head, strength)
        number = number * generates
        nearest = maps - self.centres.detach()[labels, gamma.argmax(1)][:, :, None, None]
        moved = self.transform(nearest[heads])
        # Before generation: the first half of the batch against the second, 1 for equal classes. Then: the head row against
        # the moved difference, 0.
        first, half = torch.arange(rows, device=maps.device), rows // 2
        other = (first + half) % rows
        two = torch.where(generates, torch.cat([maps[heads], moved], 1), torch.cat([maps, maps[other]], 1))
        same = (labels == labels[other]) & ~generates
        count = torch.where(generates, number, half)
        counted = (first < count).to(maps.dtype) / count.clamp(min=1)
        told = (F.cross_entropy(self.pairs(two, generates), same.long(), reduction="none") * counted).sum()
        centre = centre_loss(maps, self.centres, gamma, labels) + torch.where(generates, 0, told)
        vector = torch.where(generates, told + (vector_losses(moved, nearest[heads], nearest[tails]) * counted).sum(), 0)
        return maps[tails] + moved, tails, number, centre, vector


def channels_at(network: Network, point: str, shape: torch.Size) -> int:
    """Returns the channels of the maps at a point. shape: of an image. Raises ConfigError where there are no maps."""
    pieces = deepcopy(network).eval().pieces()
    maps = torch.zeros(1, *shape, device=next(network.parameters()).device)
    with torch.no_grad():
        for place, piece in pieces[:-1]:
            maps = piece(maps)
            if place == point:
                return maps.shape[1]
    places = ", ".join(place for place, _ in pieces[:-1]) or "none; choose ensemble=none, or another network"
    raise ConfigError(f"point must be a place with maps inside the network, got '{point}'; its places are: {places}")


def evenly(rows: int, existing: Tensor) -> Tensor:
    """(rows,): each of the first `existing` numbers (a scalar, from rows / 2 to rows) once or twice, evenly spaced.

    The start is random, so that each number is as likely as any other to come twice.
    """
    start = torch.rand((), dtype=torch.float64, device=existing.device)
    places = (torch.arange(rows, dtype=torch.float64, device=existing.device) + start) * existing / rows
    return torch.minimum(places.long(), existing - 1)


class RSG(FeatureMixer):
    """Rare-class sample generator: adds maps of tail classes, made from head-class maps, to the main stream inside the network.

    Each class has `centres` learnt centres, and learns which of them a map belongs to. A head-class map less its nearest
    centre, passed through a 3x3 convolution and added to a tail-class map, is a further map of the tail class. From a fraction
    `start` of the stage on, the tail maps of a batch get such maps from its head maps: see `pairs`. The module is trained by
    two losses of its own, because its input maps are detached from the network: `centre` times the distances to centres and,
    before `start`, the loss of a network that tells pairs of one class; and `vector` times the deviations of the moved
    difference in length and direction. The loss of the new maps trains the convolution, and the layers behind. head_share: of
    the classes, the most frequent ones. width: of the network of pairs. point: the place of the maps.

    Behind `point` a batch has twice its rows, whatever its labels: those of the definition, evenly spaced, so that some come
    once and others twice; before `start` all come twice. The authors' number of rows depends on the labels, which a captured
    step cannot follow; the expected loss and batch statistics are the same. Their code, followed here, differs from the paper:
    lengths and directions are of chunks of neighbouring pixels, not of the channels of a pixel; the loss of the direction is
    elementwise and never 0; the network of pairs is frozen from `start` on. In odd batches, which fail there, the last row has
    no pair. Images that were mixed count as of their first label.

    Wang et al., 2021, arXiv 2106.11859.
    """

    acts_from = 1
    reads = frozenset({"head"})  # only networks with one classifier have maps inside
    head: Tensor
    active: Tensor

    def __init__(
        self,
        head_share: float = 0.2,
        strength: float = 1.0,
        start: float = 0.8,
        centre: float = 0.1,
        vector: float = 0.01,
        centres: int = 15,
        width: int = 256,
        point: str = "layer2",
        *,
        stats: ClassStats,
        network: Network,
        input_shape: torch.Size,
    ):
        super().__init__()
        if not 0 < head_share < 1 or not 0 < strength <= 1:
            raise ConfigError(f"head_share, strength must be above 0, and below 1 and at most 1, got {head_share}, {strength}")
        if centre < 0 or vector < 0:
            raise ConfigError(f"centre, vector must be at least 0, got {centre}, {vector}")
        if centres < 1 or width < 1:
            raise ConfigError(f"centres, width must be at least 1, got {centres}, {width}")
        self.strength, self.start, self.centre, self.vector = strength, fraction_of_stage(start), centre, vector
        self.points = (point,)
        self.generator = Generator(stats.num_classes, channels_at(network, point, input_shape), centres, width)
        frequent = stats.counts.argsort(descending=True, stable=True)[: max(1, int(head_share * stats.num_classes))]
        self.register_buffer("head", torch.zeros(stats.num_classes, dtype=torch.bool).index_fill(0, frequent, True))
        self.register_buffer("active", torch.tensor(False))

    def adapt(self, view: View) -> None:
        self.active.fill_(view.clock.passed(self.start))

    def forward(self, streams: Streams, point: str) -> tuple[dict[str, Batch], dict[str, Tensor]]:
        main = streams["main"]
        labels = main.targets.labels
        with torch.autocast(main.inputs.device.type, enabled=False):
            maps = widened(main.inputs)
            new, tails, number, centre, vector = self.generator(maps, labels, self.head[labels], self.strength, self.active)
            kept = evenly(2 * len(main), number + len(main))
            inputs = torch.cat([maps, new])[kept].to(main.inputs.dtype)
        rows = torch.cat([torch.arange(len(main), device=kept.device), tails])[kept]
        batch = Batch(inputs, main.targets.take(rows), main.rows[rows])
        return {**streams, "main": batch}, {"centre": self.centre * centre, "vector": self.vector * vector}
