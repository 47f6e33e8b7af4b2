"""Suggestions for misspelt names."""

import pytest

from ltrun.errors import nearest

DATA_SETS = ("cifar100_lt", "cifar10_lt", "digits_lt", "image_folder")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("cifar10", "cifar10_lt"),
        ("cifar100", "cifar100_lt"),
        ("cifar-10-lt", "cifar10_lt"),
        ("cifar1000_lt", None),
        ("coco", None),
    ],
)
def test_only_a_near_name_with_the_same_digits_is_suggested(typed: str, meant: str | None) -> None:
    assert nearest(typed, DATA_SETS) == meant
