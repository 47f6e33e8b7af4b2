"""SSP's rotated batches and learning rates against recorded values; MoCo's loss against its definition in float64."""

import math

import pytest
import torch
from torch.nn import functional as F

from ltrun.schedule import MultiStep
from ltrun.transfer.moco import info_nce
from ltrun.transfer.rotation import rotate
from ltrun.types import Clock
from tests.support.cases import composed
from tests.support.golden import Golden, close, every_case

RATES = "learning rate by 0-based epoch 0,1,4,5,158,159,160,161,179,180,199 (base 0.1)"


def test_ssp_by_rotation(golden: Golden) -> None:
    data = golden("ssp_rotation")
    images = torch.tensor(data["inputs"]["images"])
    with every_case(data, {}) as take:
        for name in ("permutation [0, 1, 2, 3]", "permutation [2, 2, 1, 3]"):
            case = take(name)
            turns = torch.tensor(case["hyperparameters"]["permutation"])[: len(images)]
            assert turns.tolist() == case["outputs"]["labels"]
            assert rotate(images, turns).tolist() == case["outputs"]["rotated"]
        node = composed("method=ssp")[0]["stages"]["rotation"]["schedule"]
        schedule = MultiStep(**{key: value for key, value in node.items() if key != "_target_"})
        epochs = [int(epoch) for epoch in RATES.split("epoch ")[1].split(" ")[0].split(",")]
        rates = [0.1 * schedule.factor(Clock("rotation", epoch, 200)) for epoch in epochs]
        close(torch.tensor(rates, dtype=torch.float64), take(RATES)["outputs"]["lr"], 1e-12)


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
def test_moco_is_equation_1_of_the_paper(dtype: torch.dtype, rtol: float) -> None:
    """L_q = -log(exp(q.k+ / T) / sum over the own key and the queue of exp(q.k / T)); empty slots are no summands."""
    torch.manual_seed(0)
    query, key, queue = (F.normalize(torch.randn(rows, 5, dtype=torch.float64), dim=1) for rows in (4, 4, 7))
    filled = torch.tensor([True, True, False, True, False, True, True])
    expected = 0.0
    for q, k in zip(query.tolist(), key.tolist(), strict=True):
        own = math.exp(sum(a * b for a, b in zip(q, k, strict=True)) / 0.2)
        others = [row for row, full in zip(queue.tolist(), filled.tolist(), strict=True) if full]
        rest = sum(math.exp(sum(a * b for a, b in zip(q, row, strict=True)) / 0.2) for row in others)
        expected -= math.log(own / (own + rest)) / len(query)
    close(info_nce(query.to(dtype), key.to(dtype), queue.to(dtype), filled, 0.2), expected, rtol)
