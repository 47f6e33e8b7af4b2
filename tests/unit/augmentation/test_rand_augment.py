"""RandAugment: the number of operations, how often they are left out, and impossible values."""

import pickle

import pytest
import torch

from ltrun.augmentation import RandAugment
from ltrun.errors import ConfigError
from tests.support.photographs import batch_of, photographs


def test_operations_are_left_out_half_the_time() -> None:
    torch.manual_seed(0)
    images = photographs(1, (3, 16, 16)).expand(6000, -1, -1, -1)
    changed = (RandAugment("timm", operations=1, magnitude=9.5)(batch_of(images)).inputs != images).flatten(1).any(1)
    assert changed.float().mean() == pytest.approx(0.5, abs=0.05)
    assert not (RandAugment("timm", probability=0.0)(batch_of(images)).inputs != images).any()
    twice = (RandAugment("timm", operations=2, magnitude=9.5)(batch_of(images)).inputs != images).flatten(1).any(1)
    assert twice.float().mean() == pytest.approx(0.75, abs=0.05)


def test_the_long_tailed_table_cuts_coloured_squares() -> None:
    torch.manual_seed(0)
    images = torch.full((2000, 3, 32, 32), 60, dtype=torch.uint8)
    found = RandAugment("long_tailed", 1, 14.0, 0.0, 1.0, 0)(batch_of(images)).inputs
    colour = torch.tensor([125, 123, 114], dtype=torch.uint8)[:, None, None]
    cut = (found == colour).all(1).flatten(1).any(1)
    assert cut.float().mean() == pytest.approx(1 / 16, abs=0.02)
    assert ((found[cut] == colour) | (found[cut] == 60)).all()


@pytest.mark.parametrize(
    ("values", "named"),
    [({"operations": 0}, "operations"), ({"magnitude": 11.0}, "magnitude"), ({"spread": -1.0}, "spread"),
     ({"probability": 1.5}, "probability"), ({"fill": 300}, "fill"),
     ({"magnitude": 31.0, "table": "torchvision"}, "magnitude")],
)  # fmt: skip
def test_impossible_values_are_refused(values: dict[str, float], named: str) -> None:
    with pytest.raises(ConfigError, match=f"^{named} must"):
        RandAugment(**{"table": "timm"} | values)  # type: ignore[arg-type]


def test_it_can_be_sent_to_another_process() -> None:
    assert pickle.dumps(RandAugment(table="torchvision", magnitude=9.0))
