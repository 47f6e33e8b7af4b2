"""OFA: tail-class maps fused with the background of head-class maps, where class activation maps tell them apart."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.numerics import widened
from ltrun.parts import FeatureMixer, Network, Sampler
from ltrun.targets import one_label
from ltrun.types import Batch, ClassStats, Clock, Labels, Outputs, Streams, Targets, View

AT_ONCE = 250  # images in one look at the training set


def head_classes(counts: Tensor, share: float) -> Tensor:
    """(C,) boolean: the most frequent classes that together have at most `share` of all images, the largest class at least."""
    order = counts.argsort(descending=True, stable=True)
    whole = counts[order].cumsum(0).double()
    head = torch.zeros(len(counts), dtype=torch.bool)
    head[order] = (whole <= share * whole[-1]) | (torch.arange(len(counts)) == 0)
    return head


def known_head(stats: ClassStats, head_share: float) -> Tensor:
    """Returns `head_classes`. Raises ConfigError for a share outside 0 to 1, or which leaves no tail class with images."""
    if not 0 < head_share < 1:
        raise ConfigError(f"head_share must be above 0 and below 1, got {head_share}")
    head = head_classes(stats.counts, head_share)
    if not stats.counts[~head].sum():
        raise ConfigError(f"head_share must leave a tail class with images, got {head_share} for {stats.counts.tolist()[:5]}")
    return head


def look(view: View) -> Iterator[tuple[Tensor, Outputs]]:
    """Yields the labels and the network's outputs of the whole training set, batch by batch."""
    for rows in torch.arange(len(view.labels)).split(AT_ONCE):
        batch = view.open(rows)
        yield batch.targets.labels, view.predict(batch.inputs)


def activation_maps(maps: Tensor, weights: Tensor) -> Tensor:
    """(B, H, W) from 0 to 1: max(0, weights . pixel), stretched to this range; 1 everywhere where it is constant.

    maps: (B, D, H, W). weights: (B, D), of the class of each row.
    """
    found = torch.einsum("bdhw,bd->bhw", maps, weights).relu()
    least, most = found.amin((1, 2), keepdim=True), found.amax((1, 2), keepdim=True)
    return torch.where(most > least, (found - least) / (most - least).clamp(min=torch.finfo(found.dtype).tiny), 1.0)


def fused(
    tail: Tensor, tail_cam: Tensor, head: Tensor, head_cam: Tensor, mask: Tensor, foreground: float, background: float
) -> Tensor:
    """(B, D, H, W): tail maps where the mask (B, H, W) is true, else head maps.

    Tail maps are 0 where their activation is at most `foreground`, head maps where theirs is `background` or more.
    """
    mine = tail * (tail_cam > foreground)[:, None]
    return torch.where(mask[:, None], mine, head * (head_cam < background)[:, None])


def joined(first: Labels, second: Labels) -> Labels:
    """Stacks the rows of both; the one with fewer label columns gets further ones of weight 0."""
    most = max(first.index.shape[1], second.index.shape[1])

    def wide(labels: Labels) -> tuple[Tensor, Tensor]:
        missing = most - labels.index.shape[1]
        padding = labels.weight.new_zeros(len(labels), missing)
        return torch.cat([labels.index, labels.index[:, :1].expand(-1, missing)], 1), torch.cat([labels.weight, padding], 1)

    return Labels(*(torch.cat(both) for both in zip(wide(first), wide(second), strict=True)))


class Confusing(Sampler):
    """Draws each tail image, in random order, and after it one image of each of the `fused` head classes most like its class.

    A head class is like a tail class by the mean probability that the network, at the beginning of the stage, gives the tail
    class on the head class's training images. Rounds of all tail images are repeated until there are len(targets) rows.
    head_share: see `head_classes`.

    Chu et al., 2020, arXiv 2008.03673.
    """

    balances = True
    tail: Tensor
    head: Tensor
    confusing: Tensor

    def __init__(self, fused: int = 3, head_share: float = 0.9, *, stats: ClassStats):
        super().__init__()
        if fused < 1:
            raise ConfigError(f"fused must be at least 1, got {fused}")
        known = known_head(stats, head_share)
        head = known.nonzero()[:, 0]
        self.register_buffer("tail", ~known)
        self.register_buffer("head", head)
        self.register_buffer("confusing", head[:fused].expand(len(known), -1).clone())

    @torch.no_grad()
    def adapt(self, view: View) -> None:
        if view.clock.epoch > 0:
            return
        scores = torch.zeros(len(self.tail), len(self.tail), dtype=torch.float64, device=self.tail.device)
        for labels, outputs in look(view):
            scores.index_add_(0, labels, outputs.need("logits").double().softmax(1))
        mean = scores / view.stats.counts.to(scores.device).clamp(min=1)[:, None]
        self.confusing.copy_(self.head[mean[self.head].T.topk(self.confusing.shape[1]).indices])

    def draw(self, targets: Targets, clock: Clock, generator: torch.Generator) -> Tensor:
        device = generator.device
        labels = targets.labels.to(device)
        rows = self.tail.to(device)[labels].nonzero()[:, 0]
        others = self.confusing.to(device)
        rounds = -(-len(labels) // (len(rows) * (1 + others.shape[1])))
        order = torch.rand(rounds, len(rows), generator=generator, device=device).argsort(1).flatten()
        tail = rows[order]
        counts = torch.bincount(labels, minlength=len(others))
        first, by_class, classes = counts.cumsum(0) - counts, labels.argsort(stable=True), others[labels[tail]]
        within = torch.rand(classes.shape, dtype=torch.float64, generator=generator, device=device) * counts[classes]
        return torch.cat([tail[:, None], by_class[first[classes] + within.long()]], 1).flatten()


class OFA(FeatureMixer):
    """Online feature augmentation: adds a batch of tail-class maps, real and fused with head-class maps, to the main stream's.

    Acts on the last maps before the pooling, in a stage that trains the classifier alone. The stream `fused`, drawn by
    `Confusing`, is consumed: its tail maps stay as they are, and each head map is replaced by a fusion with the tail map before
    it, of the tail map's label. A pixel comes from the tail map with probability 1 - g, g uniform for each pair, else from the
    head map. The tail map is 0 where its class activation is at most `foreground`, the head map where its own is `background`
    or more. head_share: as in `Confusing`.

    The definition is a port's, in which the confusing classes may be tail classes; here they are head classes, as in the paper.
    The port has as many real images of head classes as images in `fused`; here they are the run's main stream. Activations
    are class weights times maps, which for a linear head is the port's Grad-CAM; where they are constant, and the port divides
    by 0, they are 1. The port's online file gives every tail row of a batch the first one's label; here each keeps its own.

    Chu et al., 2020, arXiv 2008.03673.
    """

    streams = ("main", "fused")
    reads = frozenset({"head"})
    tail: Tensor

    def __init__(
        self, foreground: float = 0.8, background: float = 0.2, head_share: float = 0.9, *, stats: ClassStats, network: Network
    ):
        super().__init__()
        if not (0 <= foreground <= 1 and 0 <= background <= 1):
            raise ConfigError(f"foreground, background must lie between 0 and 1, got {foreground} and {background}")
        places = [place for place, _ in network.pieces()]
        if len(places) < 2:
            raise ConfigError(
                "network: it has no maps before its features, which augmentation=ofa fuses; choose another network"
            )
        self.foreground, self.background, self.points, self.held = foreground, background, (places[-2],), (network,)
        self.register_buffer("tail", ~known_head(stats, head_share))

    def forward(self, streams: Streams, point: str) -> tuple[dict[str, Batch], dict[str, Tensor]]:
        main, other = streams["main"], streams["fused"]
        maps, labels = other.inputs.detach(), other.targets.labels
        with torch.no_grad():
            weights = self.held[0].decide(maps.mean((2, 3))).need("head")[labels]
            cam = activation_maps(widened(maps), widened(weights))
        rows, tail = torch.arange(len(maps), device=maps.device), self.tail[labels]
        before = torch.where(tail, rows, -1).cummax(0).values  # the last tail row up to each row; -1 where there is none
        own = torch.where(tail | (before < 0), rows, before)
        share = torch.rand(len(maps), 1, 1, device=maps.device)
        mask = torch.rand_like(cam) > share
        mixed = fused(maps[own], cam[own], maps, cam, mask, self.foreground, self.background)
        mixed = torch.where((own == rows)[:, None, None, None], maps, mixed)
        batch = Batch(
            torch.cat([main.inputs, mixed]),
            joined(one_label(main.targets), one_label(other.targets.take(own))),
            torch.cat([main.rows, other.rows[own]]),
        )
        return {name: stream for name, stream in streams.items() if name != "fused"} | {"main": batch}, {}
