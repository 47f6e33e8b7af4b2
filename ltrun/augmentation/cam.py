"""CAM-based sampling: further images of rarer classes, whose foreground is moved over their own image."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.parts import Augment, Part
from ltrun.types import Batch, ClassStats, View

AT_ONCE = 250  # images in one look at the training set
ROTATE, SHIFT, MIRROR = range(3)
LEAST = 1 / 64  # of a mask between two pixels, below which OpenCV's coordinates of 1/32 pixel round it off


def foreground(maps: Tensor, weights: Tensor, height: int, width: int) -> Tensor:
    """(B, height, width) boolean: where the class activation, stretched to 0..1 and enlarged, is 3/4 of its mean or more.

    maps: (B, D, h, w). weights: (B, D), of the class of each row. A constant activation is foreground everywhere.
    """
    activation = torch.einsum("bdhw,bd->bhw", maps, weights)
    activation = activation - activation.amin((1, 2), keepdim=True)
    activation = activation / activation.amax((1, 2), keepdim=True).clamp(min=torch.finfo(activation.dtype).tiny)
    activation = F.interpolate(activation[:, None], (height, width), mode="bilinear")[:, 0]
    return activation >= 0.75 * activation.mean((1, 2), keepdim=True)


def box(mask: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """First row, last row, first column and last column (B,) of a mask (B, H, W) that is true somewhere."""
    rows, columns = mask.any(2).int(), mask.any(1).int()
    height, width = mask.shape[1:]
    return (
        rows.argmax(1),
        height - 1 - rows.flip(1).argmax(1),
        columns.argmax(1),
        width - 1 - columns.flip(1).argmax(1),
    )


def moved(images: Tensor, mask: Tensor, ways: Tensor, angles: Tensor, scales: Tensor, places: Tensor) -> Tensor:
    """Returns images (B, channels, H, W) whose foreground, mask (B, H, W), is moved over the image.

    ways: (B,) ROTATE by `angles` (degrees, counter-clockwise) and scale by `scales` about the centre of the foreground's
    bounding box; SHIFT to `places` (B, 2), from 0 to below 1, of the rows and columns between which the box stays inside; or
    MIRROR left and right. The moved image covers its own foreground and the old one, wherever it has pixels.
    """
    batch, _, height, width = images.shape
    top, bottom, left, right = (each[:, None, None] for each in box(mask))
    y, x = torch.arange(height, device=images.device)[:, None], torch.arange(width, device=images.device)
    middle_y, middle_x = (top + bottom) / 2, (left + right) / 2
    angles, scales = angles.deg2rad()[:, None, None], scales[:, None, None]
    dx, dy = (x - middle_x) / scales, (y - middle_y) / scales
    rotated = middle_x + angles.cos() * dx - angles.sin() * dy, middle_y + angles.sin() * dx + angles.cos() * dy
    down = (places[:, 0, None, None] * (height - bottom + top)).floor() - top
    along = (places[:, 1, None, None] * (width - right + left)).floor() - left
    ways = ways[:, None, None]
    columns = torch.where(ways == ROTATE, rotated[0], torch.where(ways == SHIFT, x - along, width - 1 - x))
    rows = torch.where(ways == ROTATE, rotated[1], torch.where(ways == SHIFT, y - down, y.expand(batch, height, width)))
    grid = torch.stack([2 * columns / max(width - 1, 1) - 1, 2 * rows / max(height - 1, 1) - 1], dim=3).float()
    sampled = F.grid_sample(torch.cat([images.float(), mask[:, None].float()], 1), grid, align_corners=True)
    inside = (grid.abs() <= 1 + 1e-5).all(3)
    shown = ((sampled[:, -1] > LEAST) | mask) & inside
    return torch.where(shown[:, None], sampled[:, :-1].round().to(images.dtype), images)


class CAM(Augment):
    """CAM-based sampling: every class gets n_max + n_min - n_c images more, made once from its own images.

    Before the first epoch of its stage, the network as it then is tells the foreground of each training image, by the class
    activation map of the label. The (n_max + n_min - n_c) new images of class c are shared out evenly among its own images. A
    new image is the old one with its foreground rotated by -45 to 44 degrees and scaled by 0.80 to 1.19, or shifted, or
    mirrored, one of the three at random; see `moved`. What is kept is not pixels but the foreground and the way of each new
    image, so that it comes out the same whenever it is drawn. An image that the sampler draws is, with equal probability,
    itself or one of its new images.

    It comes before the data set's own augmentations, and stores one bit a pixel. Meant for a stage of trained weights, with a
    sampler that draws classes (decoupling=cam): class-balanced, square-root or progressively balanced, by the counts without
    the new images, as in the authors' code.

    Differences: the authors' code takes the map of a randomly cropped and mirrored view; here it is of the image itself. Its
    bounding box ends at the second row and the second column with foreground; here it holds all of it. It draws the image that
    each new one is made from; here the shares are even.

    Zhang et al., 2021 (Bag of Tricks), AAAI 2021.
    """

    accepts = Part.accepts  # a foreground is the label's
    first = True
    maps = True
    reads = frozenset({"head"})
    masks: Tensor
    begins: Tensor
    plans: Tensor

    def __init__(self, *, stats: ClassStats, input_shape: torch.Size):
        super().__init__()
        images, wanted = int(stats.counts.sum()), further(stats.counts)
        self.height, self.width = input_shape[-2:]
        self.register_buffer("masks", torch.full((images, -(-self.height * self.width // 8)), 255, dtype=torch.uint8))
        self.register_buffer("begins", torch.zeros(images + 1, dtype=torch.long))  # of each image's new images in `plans`
        self.register_buffer("plans", torch.zeros(int(wanted.sum()), 5))  # way, angle, scale, place of the rows, of the columns

    @torch.no_grad()
    def adapt(self, view: View) -> None:
        if view.clock.epoch > 0:
            return
        labels, generator, made = view.labels.cpu(), view.generator, len(self.plans)
        self.begins[1:] = shared(labels, view.stats.counts.cpu(), generator).cumsum(0)
        way, angle = (torch.randint(*ends, (made,), generator=generator) for ends in ((0, 3), (-45, 45)))
        scale = torch.randint(80, 120, (made,), generator=generator) / 100
        places = torch.rand(made, 2, generator=generator)
        self.plans.copy_(torch.cat([torch.stack([way, angle, scale], 1), places], 1))
        for rows in torch.arange(len(labels)).split(AT_ONCE):
            batch = view.open(rows)
            weights = view.predict(batch.inputs).need("head")[batch.targets.labels]
            mask = foreground(view.maps(batch.inputs).float(), weights.float(), self.height, self.width)
            self.masks[rows] = packed(mask.flatten(1))

    def forward(self, batch: Batch) -> Batch:
        rows = batch.rows
        begin, new = self.begins[rows], self.begins[rows + 1] - self.begins[rows]
        drawn = (torch.rand(len(batch), device=rows.device) * (new + 1)).long().minimum(new)
        way, angle, scale, *places = self.plans[(begin + drawn - 1).clamp(min=0)].unbind(1)
        mask = unpacked(self.masks[rows], self.height * self.width).view(-1, self.height, self.width)
        made = moved(batch.inputs, mask, way, angle, scale, torch.stack(places, 1))
        return batch.replace(inputs=torch.where((drawn > 0)[:, None, None, None], made, batch.inputs))


def further(counts: Tensor) -> Tensor:
    """(C,) images that each class gets: n_max + n_min - n_c, n_min of the classes with images, and 0 for a class without."""
    return torch.where(counts > 0, counts.max() + counts[counts > 0].min() - counts, 0)


def shared(labels: Tensor, counts: Tensor, generator: torch.Generator) -> Tensor:
    """(N,) new images of each image: its share of the new images of its class, rounded up for images drawn at random."""
    order = torch.randperm(len(labels), generator=generator)
    order = order[labels[order].argsort(stable=True)]
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(labels)) - (counts.cumsum(0) - counts)[labels[order]]
    wanted, of_class = further(counts)[labels], counts[labels]
    return wanted // of_class + (rank < wanted % of_class)


def packed(mask: Tensor) -> Tensor:
    """(N, ceil(P / 8)) bytes of a mask (N, P)."""
    bits = F.pad(mask, (0, -mask.shape[1] % 8)).unflatten(1, (-1, 8))
    return (bits * 2 ** torch.arange(8, device=mask.device)).sum(2).to(torch.uint8)


def unpacked(bits: Tensor, pixels: int) -> Tensor:
    """(N, pixels) boolean from the bytes of `packed`."""
    return (bits[:, :, None] >> torch.arange(8, device=bits.device, dtype=torch.uint8) & 1).bool().flatten(1)[:, :pixels]
