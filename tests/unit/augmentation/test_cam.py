"""CAM-based sampling: foreground and moved images against a loop over pixels, numbers of new images, what a stage keeps."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ltrun.augmentation import CAM
from ltrun.augmentation.cam import MIRROR, ROTATE, SHIFT, box, foreground, further, moved, packed, shared, unpacked
from ltrun.types import Batch, ClassStats, Clock, Labels, Outputs, View
from tests.support.cases import bound, changed, composed, digits, small, trainer
from tests.support.recipes import refused

COUNTS = torch.tensor([7, 4, 2])
LABELS = torch.arange(3).repeat_interleave(COUNTS)
PIXELS = 9


def cam(images: Tensor) -> tuple[CAM, Batch]:
    """The part after a look at a network whose last maps are the images, and the images as a batch."""
    stats = ClassStats(COUNTS)
    part = CAM(stats=stats, input_shape=images.shape[1:])
    whole = Batch(images, Labels.hard(LABELS), torch.arange(len(images)))
    head = torch.tensor([[1.0], [2.0], [0.5]])

    def images_of(rows: Tensor) -> Batch:
        return Batch(images[rows], Labels.hard(LABELS[rows]), rows)

    def predict(inputs: Tensor) -> Outputs:
        return Outputs(head=head)

    generator = torch.Generator().manual_seed(1)
    clock = Clock("generate", 0, 5)
    part.adapt(View(clock, stats, images_of, predict, generator, LABELS, lambda batch: batch, lambda inputs: inputs.float()))
    return part, whole


def pictures(count: int, height: int = PIXELS, width: int = PIXELS) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(1, 256, (count, 1, height, width), generator=generator, dtype=torch.uint8)


# -------------------------------------------------------------------------------------------------- one pixel at a time


def pixel(image: Tensor, x: float, y: float) -> float:
    """The bilinear value at a place, 0 outside."""
    height, width = image.shape
    total = 0.0
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < height and 0 <= column < width:
                total += (1 - abs(y - row)) * (1 - abs(x - column)) * float(image[row, column])
    return total


def by_pixel(image: Tensor, mask: Tensor, way: int, angle: float, scale: float, place: tuple[float, float]) -> Tensor:
    height, width = image.shape
    rows, columns = [[int(n) for n in where] for where in mask.nonzero(as_tuple=True)]
    top, bottom, left, right = min(rows), max(rows), min(columns), max(columns)
    made = image.clone()
    for y in range(height):
        for x in range(width):
            if way == ROTATE:  # the inverse of scale * [[cos, sin], [-sin, cos]] about the centre, as OpenCV's
                cos, sin = math.cos(math.radians(angle)) / scale, math.sin(math.radians(angle)) / scale
                dx, dy = x - (left + right) / 2, y - (top + bottom) / 2
                u, v = (left + right) / 2 + cos * dx - sin * dy, (top + bottom) / 2 + sin * dx + cos * dy
            elif way == SHIFT:
                down = math.floor(place[0] * (height - bottom + top)) - top
                along = math.floor(place[1] * (width - right + left)) - left
                u, v = float(x - along), float(y - down)
            else:
                u, v = float(width - 1 - x), float(y)
            inside = -1e-5 <= u <= width - 1 + 1e-5 and -1e-5 <= v <= height - 1 + 1e-5
            if inside and (mask[y, x] or pixel(mask.double(), u, v) > 1 / 64):
                made[y, x] = round(pixel(image.double(), u, v))
    return made


@pytest.mark.parametrize(("height", "width"), [(9, 9), (8, 12), (2, 6)])
def test_moved_images_are_those_of_a_loop_over_pixels(height: int, width: int) -> None:
    images = pictures(12, height, width)
    generator = torch.Generator().manual_seed(2)
    masks = torch.rand(12, height, width, generator=generator) < 0.15
    masks[:, height // 2, width // 2] = True
    ways = torch.tensor([ROTATE, SHIFT, MIRROR]).repeat(4)
    angles = torch.randint(-45, 45, (12,), generator=generator).float()
    scales = torch.randint(80, 120, (12,), generator=generator) / 100
    places = torch.rand(12, 2, generator=generator)
    made = moved(images, masks, ways, angles, scales, places)
    for n, (image, mask) in enumerate(zip(images[:, 0], masks, strict=True)):
        place = (float(places[n, 0]), float(places[n, 1]))
        expected = by_pixel(image, mask, int(ways[n]), float(angles[n]), float(scales[n]), place)
        assert (made[n, 0].int() - expected.int()).abs().max() <= 1, f"way {ways[n]}, image {n}"
        assert bool((made[n, 0] == expected).double().mean() > 0.95), "only the rounding of a half may differ"


def test_a_shifted_foreground_stays_inside() -> None:
    mask = torch.zeros(100, 9, 9, dtype=torch.bool)
    mask[:, 2:5, 6:8] = True
    images = torch.zeros(100, 1, 9, 9, dtype=torch.uint8)
    images[mask[:, None]] = 200
    places = torch.rand(100, 2, generator=torch.Generator().manual_seed(0))
    made = moved(images, mask, torch.full((100,), SHIFT), torch.zeros(100), torch.ones(100), places)
    windows = (made == 200).float()[:, 0].unfold(1, 3, 1).unfold(2, 2, 1).sum((3, 4))
    assert bool((windows == 6).any(2).any(1).all()), "all six pixels are inside, wherever they are"
    assert len({tuple(image.flatten().tolist()) for image in made}) > 30


def test_the_box_holds_all_of_the_foreground() -> None:
    mask = torch.zeros(2, 7, 5, dtype=torch.bool)
    mask[0, 1, 3] = mask[0, 5, 0] = mask[1, 6, 4] = True
    assert [each.tolist() for each in box(mask)] == [[1, 6], [5, 6], [0, 4], [3, 4]]


def test_the_foreground_is_three_quarters_of_the_mean_activation_or_more() -> None:
    maps = torch.tensor([[[[0.0, 1.0], [2.0, 3.0]], [[5.0, 0.0], [0.0, 0.0]]]])
    weights = torch.tensor([[1.0, -0.2]])
    activation = torch.tensor([[-1.0, 1.0], [2.0, 3.0]])  # of 0..1: 0, 0.5, 0.75, 1; mean 0.5625
    assert torch.equal(foreground(maps, weights, 2, 2)[0], activation > 0)
    assert foreground(torch.ones(1, 3, 2, 2), torch.ones(1, 3), 4, 4).all(), "a constant activation hides nothing"


def test_bits_come_back() -> None:
    mask = torch.rand(5, 35, generator=torch.Generator().manual_seed(0)) < 0.5
    assert packed(mask).shape == (5, 5) and torch.equal(unpacked(packed(mask), 35), mask)


# ------------------------------------------------------------------------------------------------------ numbers and stage


def test_every_class_ends_with_as_many_images_as_the_largest_and_the_smallest() -> None:
    counts = torch.tensor([500, 60, 9, 5, 0])
    assert (counts + further(counts)).tolist() == [505, 505, 505, 505, 0]
    labels = torch.arange(5).repeat_interleave(counts)
    each = shared(labels, counts, torch.Generator().manual_seed(0))
    assert torch.equal(torch.zeros(5, dtype=torch.long).index_add_(0, labels, each), further(counts))
    for label in range(4):
        own = each[labels == label]
        assert own.max() - own.min() <= 1, "even shares"


def test_images_are_drawn_as_they_are_and_as_the_same_new_images_again() -> None:
    torch.manual_seed(0)
    images = pictures(len(LABELS))
    part, whole = cam(images)
    seen: list[set[tuple[int, ...]]] = [set() for _ in LABELS]
    for _ in range(200):
        for row, made in enumerate(part(whole).inputs):
            seen[row].add(tuple(made.flatten().tolist()))
    new = (part.begins[1:] - part.begins[:-1]).tolist()
    assert all(len(some) <= 1 + n for some, n in zip(seen, new, strict=True)), "a shift may leave all where it is"
    assert sum(map(len, seen)) > len(seen) + sum(new) / 2
    assert all(tuple(image.flatten().tolist()) in some for image, some in zip(images, seen, strict=True))


def test_later_epochs_keep_the_images_of_the_first(tmp_path: Path) -> None:
    recipe = bound(changed(small(composed("decoupling=cam"), 10), stages__generate__epochs=2))
    made = trainer(recipe, tmp_path)
    run = made.begin(made.network(), recipe.stages[1], 1)
    run.epoch(Clock("generate", 0, 2))
    part = next(part for part in run.parts if isinstance(part, CAM))
    first = {name: tensor.clone() for name, tensor in part.state_dict().items()}
    run.epoch(Clock("generate", 1, 2))
    assert all(torch.equal(first[name], tensor) for name, tensor in part.state_dict().items())
    assert set(first) == {"masks", "begins", "plans"} and not (first["masks"] == 255).all()


def test_new_images_come_before_the_data_sets_own_augmentations() -> None:
    stage = bound(composed("augmentation=[cutout,cam]", "dataset=cifar100_lt")).stages[0]
    assert list(stage.streams["main"].augments or {}) == ["cam", "crop_flip", "cutout"]


def test_experts_have_no_one_class_weight_for_the_map() -> None:
    assert "augmentation=cam" in refused(composed("augmentation=cam", "ensemble=sade", "classifier=cosine"))


@pytest.mark.parametrize("option", ["augmentation=cam", "decoupling=cam"])
def test_a_network_of_two_branches_has_no_one_map(option: str) -> None:
    said = refused(composed(option, "ensemble=bbn"))
    assert "augmentation=cam" in said and "ensemble=bbn" in said and "reads maps" in said


def test_a_momentum_network_shows_the_maps_of_its_backbone(tmp_path: Path) -> None:
    made = trainer(bound(small(composed("augmentation=cam", "representation=paco"))), tmp_path)
    network = made.network()
    run = made.begin(network, made.recipe.stages[0], 0)
    images = digits()[0].images[:2]
    features = network.eval().predict(made.context.prepare(images)).need("features")
    assert torch.allclose(run.maps(images).mean(dim=(2, 3)), features, atol=1e-6)


def test_a_neck_between_the_maps_and_the_class_weights_is_refused() -> None:
    words = ("dataset=imagenet_lt", "decoupling=cam", "network=resnet50_neck")
    assert "set network.neck=null" in refused(composed(*words))
    assert bound(changed(composed(*words), network__neck=None)).backbone.arguments["neck"] is None
