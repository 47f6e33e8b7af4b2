"""Image augmentation against recorded values: CUDA's curriculum and operations."""

from typing import Any

import pytest
import torch
from torch import Tensor

from ltrun.augmentation.cuda import CHOICES, SIGNED, strengths, trials_of, updated, value_of
from ltrun.augmentation.operations import INDEX, apply
from tests.support.golden import Golden

NAMES = {
    "Flip": "flip", "Mirror": "mirror", "EdgeEnhance": "edge_enhance", "Detail": "detail", "Smooth": "smooth",
    "AutoContrast": "autocontrast", "Equalize": "equalize", "Invert": "invert", "GaussianBlur": "gaussian_blur",
    "ResizeCrop": "resize_crop", "Rotate": "rotate", "Posterize": "posterize", "Solarize": "solarize",
    "SolarizeAdd": "add_solarize", "Color": "color", "Contrast": "contrast", "Brightness": "brightness",
    "Sharpness": "sharpness", "ShearX": "shear_x", "ShearY": "shear_y", "TranslateXabs": "translate_x",
    "TranslateYabs": "translate_y",
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


@pytest.mark.parametrize("name", NAMES)
def test_cudas_operations_have_the_recorded_pixels(golden: Golden, name: str) -> None:
    image, ours = image_of(golden, "cuda_curriculum"), NAMES[name]
    for case in cases(golden, "cuda_curriculum", "pixels"):
        given = case["hyperparameters"]
        sign = -1 if ours in SIGNED and given["sign_draw"] > 0.5 else 1
        assert one(image, ours, sign * value_of(ours, given["magnitude"])).tolist() == case["outputs"]["pixels"][name]
