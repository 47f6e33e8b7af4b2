"""AutoAugment: the published policy, and the share of each of its results."""

from collections import Counter, defaultdict
from itertools import product

import numpy as np
import pytest
import torch
from PIL import Image

from ltrun.augmentation import AutoAugment
from ltrun.augmentation.autoaugment import POLICY, Table, operation_of, value_of
from ltrun.augmentation.operations import INDEX, apply, in_pixels
from tests.support.photographs import batch_of, photographs

TORCHVISION = {
    "autocontrast": "AutoContrast", "brightness": "Brightness", "color": "Color", "contrast": "Contrast",
    "equalize": "Equalize", "invert": "Invert", "posterize": "Posterize", "rotate": "Rotate", "sharpness": "Sharpness",
    "shear_x": "ShearX", "shear_y": "ShearY", "solarize": "Solarize", "translate_x": "TranslateX",
    "translate_y": "TranslateY",
}  # fmt: skip

LARGEST = {"translate_x": 150 / 331 * 24, "translate_y": 150 / 331 * 24, "rotate": 30.0, "shear_x": 0.3, "shear_y": 0.3}


def test_policy_is_the_published_one() -> None:
    from torchvision.transforms.autoaugment import AutoAugment as Reference
    from torchvision.transforms.autoaugment import AutoAugmentPolicy

    published = Reference(AutoAugmentPolicy.CIFAR10).policies
    ours = [tuple((TORCHVISION[name], chance, ninths) for name, chance, ninths in pair) for pair in POLICY]
    assert ours == [tuple((name, chance, ninths or 0) for name, chance, ninths in pair) for pair in published]


@pytest.mark.parametrize("table", ["long_tailed", "torchvision"])
def test_each_result_is_drawn_with_its_published_probability(table: Table) -> None:
    image, count = photographs(1, (3, 6, 6)), 10_000
    expected: defaultdict[tuple[int, ...], float] = defaultdict(float)
    for pair in POLICY:
        for signs in product((0, 1, -1), repeat=2):  # 0: the operation is not applied
            result, share = image, count / len(POLICY)
            for (name, chance, ninths), sign in zip(pair, signs, strict=True):
                share *= chance / 2 if sign else 1 - chance
                operation = torch.tensor([INDEX[operation_of(name, table)] * abs(sign)])
                value = torch.tensor([value_of(name, ninths, sign or 1, table)], dtype=torch.float64)
                result = apply(result, operation, in_pixels(operation, value, result.shape, table == "torchvision"), 128)
            expected[tuple(result.flatten().tolist())] += share
    torch.manual_seed(0)
    results = AutoAugment(table)(batch_of(image.expand(count, -1, -1, -1))).inputs
    drawn = Counter(tuple(result) for result in results.flatten(1).tolist())
    assert set(drawn) <= set(expected)
    for key, share in expected.items():
        assert abs(drawn[key] - share) <= 5 * share**0.5, "the count is more than five standard deviations off"


def test_a_rotation_of_the_long_tailed_repositories_is_never_clockwise() -> None:
    angles = [value_of("rotate", ninths, sign, "long_tailed") for ninths in range(10) for sign in (1, -1)]
    assert min(angles) == 0 and max(angles) == 30


@pytest.mark.parametrize("name", sorted(TORCHVISION))
def test_the_operations_of_the_table_torchvision_are_torchvisions(name: str) -> None:
    """With Pillow underneath. The direction of a move is random, so each sign may stand for the other."""
    from torchvision.transforms.autoaugment import _apply_op
    from torchvision.transforms.functional import InterpolationMode

    images = photographs(6, (3, 24, 24))
    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
    for ninths in range(10):
        found, theirs = [], []
        for sign in (1, -1):
            operation = torch.full((6,), INDEX[operation_of(name, "torchvision")])
            value = torch.full((6,), value_of(name, ninths, sign, "torchvision"), dtype=torch.float64)
            found.append(apply(images, operation, in_pixels(operation, value, images.shape, whole=True), 128))
            most = LARGEST.get(name, 0.9) * ninths / 9
            level = {"posterize": round(8 - 4 * ninths / 9), "solarize": 255 - 255 * ninths / 9}.get(name, sign * most)
            done = [_apply_op(p, TORCHVISION[name], level, InterpolationMode.NEAREST, [128.0] * 3) for p in pictures]
            theirs.append(torch.stack([torch.from_numpy(np.array(picture)).permute(2, 0, 1) for picture in done]))
        for mine in found:
            assert min(float((mine != other).float().mean()) for other in theirs) < 2e-3
