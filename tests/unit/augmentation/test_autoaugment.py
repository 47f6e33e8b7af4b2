"""AutoAugment: the published policy, and torchvision's pixels for each operation."""

from collections import Counter, defaultdict
from itertools import product

import pytest
import torch

from ltrun.augmentation import AutoAugment
from ltrun.augmentation.autoaugment import OPERATIONS, POLICY, apply
from tests.support.photographs import SHAPES, assert_close, batch_of, photographs

REFERENCE_NAMES = {
    "autocontrast": "AutoContrast",
    "brightness": "Brightness",
    "color": "Color",
    "contrast": "Contrast",
    "equalize": "Equalize",
    "identity": "Identity",
    "invert": "Invert",
    "posterize": "Posterize",
    "rotate": "Rotate",
    "sharpness": "Sharpness",
    "shear_x": "ShearX",
    "shear_y": "ShearY",
    "solarize": "Solarize",
    "translate_x": "TranslateX",
    "translate_y": "TranslateY",
}
ENHANCEMENTS = {"brightness", "color", "contrast", "sharpness"}


def test_policy_is_the_published_one() -> None:
    from torchvision.transforms.autoaugment import AutoAugment as Reference
    from torchvision.transforms.autoaugment import AutoAugmentPolicy

    published = Reference(AutoAugmentPolicy.CIFAR10).policies
    ours = [tuple((REFERENCE_NAMES[name], chance, ninths) for name, chance, ninths in pair) for pair in POLICY]
    assert ours == [tuple((name, chance, ninths or 0) for name, chance, ninths in pair) for pair in published]


@pytest.mark.parametrize("operation", REFERENCE_NAMES)
@pytest.mark.parametrize("shape", SHAPES)
def test_operation_matches_torchvision(operation: str, shape: tuple[int, int, int]) -> None:
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.autoaugment import AutoAugment as Reference
    from torchvision.transforms.autoaugment import AutoAugmentPolicy, _apply_op

    reference = Reference(AutoAugmentPolicy.CIFAR10)
    name, fill = REFERENCE_NAMES[operation], [128.0] * shape[0]
    magnitudes, signed = reference._augmentation_space(10, shape[1:]).get(name, (torch.tensor(0.0), False))
    images = photographs(4, shape)
    images[3] = 77  # a flat image: nothing to stretch or equalise
    for ninths, sign in product(range(10), (1, -1) if signed else (1,)):
        strength = torch.full((4,), sign * ninths / 9)
        result = apply(images, torch.full((4,), OPERATIONS.index(operation)), strength, fill=128)
        magnitude = sign * float(magnitudes[ninths] if magnitudes.ndim else 0.0)
        expected = torch.stack([_apply_op(image, name, magnitude, InterpolationMode.NEAREST, fill) for image in images])
        if operation in ("shear_x", "shear_y"):  # a source point halfway between two pixels may be rounded either way
            rows, columns = torch.arange(shape[1])[:, None], torch.arange(shape[2])
            moved, along = (columns, rows) if operation == "shear_x" else (rows, columns)
            source = moved + magnitude * (along + 0.5)
            clear = ((source % 1 - 0.5).abs() > 1e-3).expand_as(result)
            assert_close(result[clear], expected[clear], levels=0)
        elif operation in ENHANCEMENTS:  # torchvision truncates 76.99999 to 76, all over the flat image
            assert_close(result, expected, levels=1)
            assert_close(result[:3], expected[:3], levels=1, exact=0.75)
        else:
            assert_close(result, expected, levels=0)


def test_each_image_of_a_batch_gets_its_own_operation_only() -> None:
    torch.manual_seed(0)
    images = photographs(5 * len(OPERATIONS))
    operation = torch.arange(len(OPERATIONS)).repeat(5)
    strength = torch.rand(len(images)) * 2 - 1
    together = apply(images, operation, strength, fill=128)
    alone = [apply(images[i : i + 1], operation[i : i + 1], strength[i : i + 1], fill=128) for i in range(len(images))]
    assert torch.equal(together, torch.cat(alone))
    assert torch.equal(together[0], images[0]) == (OPERATIONS[0] == "identity")


def test_autoaugment_draws_each_result_with_its_published_probability() -> None:
    image, count = photographs(1, (3, 6, 6)), 10_000
    expected: defaultdict[tuple[int, ...], float] = defaultdict(float)
    for pair in POLICY:
        for signs in product((0, 1, -1), repeat=2):  # 0: the operation is not applied
            result, share = image, count / len(POLICY)
            for (name, chance, ninths), sign in zip(pair, signs, strict=True):
                share *= chance / 2 if sign else 1 - chance
                operation, strength = torch.tensor([OPERATIONS.index(name) * abs(sign)]), torch.tensor([sign * ninths / 9])
                result = apply(result, operation, strength, fill=128)
            expected[tuple(result.flatten().tolist())] += share
    torch.manual_seed(0)
    results = AutoAugment()(batch_of(image.expand(count, -1, -1, -1))).inputs
    drawn = Counter(tuple(result) for result in results.flatten(1).tolist())
    assert set(drawn) <= set(expected)
    for key, share in expected.items():
        assert abs(drawn[key] - share) <= 5 * share**0.5, "the count is more than five standard deviations off"
