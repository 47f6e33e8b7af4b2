"""AutoAugment: the published policy, and the share of each of its results."""

from collections import Counter, defaultdict
from itertools import product

import torch

from ltrun.augmentation import AutoAugment
from ltrun.augmentation.autoaugment import NAMES, POLICY, value_of
from ltrun.augmentation.operations import INDEX, apply, in_pixels
from tests.support.photographs import batch_of, photographs

TORCHVISION = {
    "autocontrast": "AutoContrast", "brightness": "Brightness", "color": "Color", "contrast": "Contrast",
    "equalize": "Equalize", "invert": "Invert", "posterize": "Posterize", "rotate": "Rotate", "sharpness": "Sharpness",
    "shear_x": "ShearX", "shear_y": "ShearY", "solarize": "Solarize", "translate_x": "TranslateX",
    "translate_y": "TranslateY",
}  # fmt: skip


def test_policy_is_the_published_one() -> None:
    from torchvision.transforms.autoaugment import AutoAugment as Reference
    from torchvision.transforms.autoaugment import AutoAugmentPolicy

    published = Reference(AutoAugmentPolicy.CIFAR10).policies
    ours = [tuple((TORCHVISION[name], chance, ninths) for name, chance, ninths in pair) for pair in POLICY]
    assert ours == [tuple((name, chance, ninths or 0) for name, chance, ninths in pair) for pair in published]


def test_each_result_is_drawn_with_its_published_probability() -> None:
    image, count = photographs(1, (3, 6, 6)), 10_000
    expected: defaultdict[tuple[int, ...], float] = defaultdict(float)
    for pair in POLICY:
        for signs in product((0, 1, -1), repeat=2):  # 0: the operation is not applied
            result, share = image, count / len(POLICY)
            for (name, chance, ninths), sign in zip(pair, signs, strict=True):
                share *= chance / 2 if sign else 1 - chance
                operation = torch.tensor([INDEX[NAMES.get(name, name)] * abs(sign)])
                value = torch.tensor([value_of(name, ninths, sign or 1)], dtype=torch.float64)
                result = apply(result, operation, in_pixels(operation, value, result.shape), 128)
            expected[tuple(result.flatten().tolist())] += share
    torch.manual_seed(0)
    results = AutoAugment()(batch_of(image.expand(count, -1, -1, -1))).inputs
    drawn = Counter(tuple(result) for result in results.flatten(1).tolist())
    assert set(drawn) <= set(expected)
    for key, share in expected.items():
        assert abs(drawn[key] - share) <= 5 * share**0.5, "the count is more than five standard deviations off"


def test_a_rotation_is_never_clockwise() -> None:
    angles = [value_of("rotate", ninths, sign) for ninths in range(10) for sign in (1, -1)]
    assert min(angles) == 0 and max(angles) == 30
