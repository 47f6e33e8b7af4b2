"""Image augmentation against recorded values: CUDA's curriculum and operations, AutoAugment, RandAugment's table, Cutout."""

from typing import Any

import pytest
import torch
from torch import Tensor

from ltrun.augmentation.autoaugment import POLICY, operation_of
from ltrun.augmentation.autoaugment import value_of as policy_value
from ltrun.augmentation.cuda import CHOICES, SIGNED, strengths, trials_of, updated, value_of
from ltrun.augmentation.cutout import holes
from ltrun.augmentation.operations import INDEX, apply, in_pixels
from ltrun.augmentation.tables import LONG_TAILED
from tests.support.golden import Golden

NAMES = {
    "Flip": "flip", "Mirror": "mirror", "EdgeEnhance": "edge_enhance", "Detail": "detail", "Smooth": "smooth",
    "AutoContrast": "autocontrast", "Equalize": "equalize", "Invert": "invert", "GaussianBlur": "gaussian_blur",
    "ResizeCrop": "resize_crop", "Rotate": "rotate", "Posterize": "posterize", "Solarize": "solarize",
    "SolarizeAdd": "add_solarize", "Color": "color", "Contrast": "contrast", "Brightness": "brightness",
    "Sharpness": "sharpness", "ShearX": "shear_x", "ShearY": "shear_y", "TranslateXabs": "translate_x",
    "TranslateYabs": "translate_y", "CutoutAbs": "cut",
}  # fmt: skip


def one(image: Tensor, name: str, value: float, fill: int = 0) -> Tensor:
    """(H, W, channels) of an operation on one image (channels, H, W)."""
    number = torch.tensor([value], dtype=torch.float64)
    return apply(image[None], torch.tensor([INDEX[name]]), number, fill)[0].permute(1, 2, 0)


def cases(golden: Golden, file: str, word: str) -> list[dict[str, Any]]:
    return [case for case in golden(file)["cases"] if case["name"].startswith(word)]


def image_of(golden: Golden, file: str) -> Tensor:
    return torch.tensor(golden(file)["inputs"]["image_8x8"], dtype=torch.uint8).permute(2, 0, 1)


def test_every_case_of_cuda_is_driven(golden: Golden) -> None:
    words = ("update", "level ->", "ranges", "pixels")
    driven = [case["name"] for word in words for case in cases(golden, "cuda_curriculum", word)]
    assert driven == [case["name"] for case in golden("cuda_curriculum")["cases"]]


def test_cudas_levels_move_as_recorded(golden: Golden) -> None:
    inputs = golden("cuda_curriculum")["inputs"]
    for case in cases(golden, "cuda_curriculum", "update"):
        given = case["hyperparameters"]
        level = torch.tensor(inputs[case["inputs"]["level"]])
        trials = trials_of(level, given["num_test"], given["max_level"] + 1)
        correct = torch.zeros_like(trials)
        for row, found in zip(correct, inputs[case["inputs"]["correct_per_class_and_level"]], strict=True):
            row[: len(found)] = torch.tensor(found)
        ragged = [[count for count in row if count] for row in trials.tolist()]
        assert ragged == case["outputs"]["trials_per_class_and_level"]
        assert updated(level, correct, trials, given["accept_rate"]).tolist() == case["outputs"]["new_level"]


def test_cudas_levels_have_the_recorded_strengths(golden: Golden) -> None:
    for case in cases(golden, "cuda_curriculum", "level ->"):
        given, expected = case["hyperparameters"], case["outputs"]
        found = strengths(given["max_magnitude"], given["max_operations"])
        assert found == (expected["operations"], expected["magnitude"])


def test_cudas_operations_have_the_recorded_ranges(golden: Golden) -> None:
    (case,) = cases(golden, "cuda_curriculum", "ranges")
    assert [(NAMES[name], (low, high)) for name, low, high in case["outputs"]["range"]] == list(CHOICES.items())


@pytest.mark.parametrize("name", [name for name, ours in NAMES.items() if ours in CHOICES])
def test_cudas_operations_have_the_recorded_pixels(golden: Golden, name: str) -> None:
    image, ours = image_of(golden, "cuda_curriculum"), NAMES[name]
    for case in cases(golden, "cuda_curriculum", "pixels"):
        given = case["hyperparameters"]
        sign = -1 if ours in SIGNED and given["sign_draw"] > 0.5 else 1
        assert one(image, ours, sign * value_of(ours, given["magnitude"])).tolist() == case["outputs"]["pixels"][name]


def test_every_case_of_the_tables_is_driven(golden: Golden) -> None:
    words = ("the 25", "sub-policies where", "pixels", "RandAugment", "Cutout")
    driven = [case["name"] for word in words for case in cases(golden, "augment_tables", word)]
    assert driven == [case["name"] for case in golden("augment_tables")["cases"]]


def test_autoaugments_policy_is_the_recorded_one(golden: Golden) -> None:
    (case,) = cases(golden, "augment_tables", "the 25")
    spelled = {"translateX": "translate_x", "translateY": "translate_y", "shearX": "shear_x", "shearY": "shear_y"}
    for ours, theirs in zip(POLICY, case["outputs"]["policy"], strict=True):
        steps = [(theirs[0], *theirs[1:3]), (theirs[3], *theirs[4:6])]
        for (name, chance, ninths), (probability, operation, index) in zip(ours, steps, strict=True):
            assert (name, chance) == (spelled.get(operation, operation), probability)
            strong = name in ("invert", "autocontrast", "equalize") or ninths == index  # these three ignore the index
            assert strong, f"{name} has strength {ninths}, not {index}"


def test_torchvision_has_the_same_policy(golden: Golden) -> None:
    from torchvision.transforms.autoaugment import AutoAugment, AutoAugmentPolicy

    (case,) = cases(golden, "augment_tables", "sub-policies where")
    theirs = [[(chance, ninths or 0) for _, chance, ninths in pair] for pair in AutoAugment(AutoAugmentPolicy.CIFAR10).policies]
    ours = [[(chance, ninths) for _, chance, ninths in pair] for pair in POLICY]
    assert [number for number, pair in enumerate(ours) if pair != theirs[number]] == case["outputs"]["different"]


def test_autoaugments_sub_policies_have_the_recorded_pixels(golden: Golden) -> None:
    (case,) = cases(golden, "augment_tables", "pixels")
    for pair, expected in zip(POLICY, case["outputs"]["pixels"], strict=True):
        image = image_of(golden, "augment_tables")
        for name, _, ninths in pair:
            operation = torch.tensor([INDEX[operation_of(name, "long_tailed")]])
            value = torch.tensor(
                [policy_value(name, ninths, case["hyperparameters"]["sign"], "long_tailed")], dtype=torch.float64
            )
            image = apply(image[None], operation, in_pixels(operation, value, image[None].shape), 128)[0]
        assert image.permute(1, 2, 0).tolist() == expected, pair


def test_randaugments_operations_have_the_recorded_values(golden: Golden) -> None:
    (case,) = cases(golden, "augment_tables", "RandAugment")
    names, values = [NAMES[name] for name, _, _ in case["outputs"]["range"]], list(LONG_TAILED.values)
    assert names == values
    drawn, sign = torch.arange(len(names)), torch.ones(len(names), dtype=torch.float64)
    expected = torch.tensor(case["outputs"]["value"], dtype=torch.float64)
    ignoring = torch.tensor([name in ("autocontrast", "equalize", "invert") for name in names])
    for column, magnitude in enumerate((2, 9, 14, 30)):
        level = torch.full((len(names),), magnitude / 30, dtype=torch.float64)
        operation, found = LONG_TAILED.at(drawn, level, sign, torch.Size((1, 3, 32, 32)))
        recorded = torch.where(ignoring, 0, expected[:, column])
        recorded[names.index("posterize")].clamp_(min=1)  # they do so where the value is used
        assert operation.tolist() == [INDEX[name] for name in names]
        torch.testing.assert_close(found, recorded, rtol=1e-9, atol=0)


def test_cutouts_holes_are_the_recorded_ones(golden: Golden) -> None:
    data = golden("augment_tables")
    for case in cases(golden, "augment_tables", "Cutout"):
        y, x = torch.tensor(data["inputs"][case["inputs"]["centres"]]).T
        found = ~holes(y, x, case["hyperparameters"]["length"] // 2, 8, 8)
        assert found[:, 0].float().tolist() == case["outputs"]["mask"]
