"""Names that are suggested for misspelt ones."""

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
def test_the_nearest_name(typed: str, meant: str | None) -> None:
    assert nearest(typed, DATA_SETS) == meant
