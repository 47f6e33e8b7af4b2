"""GLMC: mixtures, boxes, and the loss in float64 by hand; what predicts; refusals."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.loss import Classification
from ltrun.representation import GLMC, GlobalLocalMixture
from ltrun.representation.glmc import local_box
from ltrun.types import Batch, ClassStats, Clock, Labels, Outputs
from tests.support.cases import blind_view, bound, composed
from tests.support.recipes import refused

COUNTS = torch.tensor([500, 60, 9, 1, 0])
STATS = ClassStats(COUNTS)
NAMES = ("main", "second", "partner", "second_partner")


def streams(rows: int = 4) -> dict[str, Batch]:
    """Images of one value each: 0, 1, 2 and 3 by stream; the partners have other labels."""
    labels = {"main": [0, 1, 2, 3], "second": [0, 1, 2, 3], "partner": [3, 3, 0, 1], "second_partner": [3, 3, 0, 1]}
    return {
        name: Batch(torch.full((rows, 1, 8, 8), float(place)), Labels.hard(torch.tensor(labels[name])), torch.arange(rows))
        for place, name in enumerate(NAMES)
    }


def test_both_mixtures_share_one_draw_and_label_by_it() -> None:
    sides = set()
    for seed in range(20):
        torch.manual_seed(seed)
        found = GlobalLocalMixture()(streams())
        keep = float(1 - found["main"].inputs.mean() / 2)
        for name in ("main", "second"):
            targets = found[name].targets
            assert targets.index.tolist() == [[0, 3], [1, 3], [2, 0], [3, 1]]
            torch.testing.assert_close(targets.weight, torch.tensor([keep, 1 - keep]).expand(4, 2), rtol=1e-5, atol=1e-6)
        pasted = found["second"].inputs == 3
        assert bool((pasted == pasted[:1]).all()) and set(found["second"].inputs.unique().tolist()) <= {1.0, 3.0}
        side = math.ceil(8 * math.sqrt(1 - keep)) // 2 * 2
        height = int(pasted[0, 0].any(dim=1).sum())
        assert height <= side
        sides.add(height == side)
        assert torch.equal(found["partner"].inputs, streams()["partner"].inputs)
    assert sides == {True, False}, "some boxes are clipped, some are whole"


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.77, 0.99, 1.0])
def test_boxes_are_the_authors(keep: float) -> None:
    for y in range(0, 8, 3):
        for x in range(0, 8, 3):
            cut = math.ceil(8 * math.sqrt(1 - keep))
            expected = torch.zeros(8, 8, dtype=torch.bool)
            first, last = ([min(max(c + sign * (cut // 2), 0), 8) for c in (y, x)] for sign in (-1, 1))
            expected[first[0] : last[0], first[1] : last[1]] = True
            found = local_box(8, 8, torch.tensor(keep, dtype=torch.float64), torch.tensor(y), torch.tensor(x))
            assert torch.equal(found, expected)


def cross_entropy(logits: Tensor, soft: Tensor) -> Tensor:
    return -(F.log_softmax(logits, dim=1) * soft).sum(dim=1).mean()


@pytest.mark.parametrize("epoch", [0, 3, 9])
def test_the_loss_is_the_papers(epoch: int) -> None:
    torch.manual_seed(0)
    term = GLMC(1.2, 4.0, 3, classify=Classification(), stats=STATS, features=6).double()
    term.adapt(blind_view(Clock("train", epoch, 10), STATS))
    logits = torch.randn(2, 2, 4, 5, dtype=torch.float64, requires_grad=True)  # views, heads
    features = torch.randn(2, 4, 6, dtype=torch.float64, requires_grad=True)
    targets = Labels.hard(torch.tensor([0, 1, 2, 3])).mix(Labels.hard(torch.tensor([3, 3, 0, 1])), torch.full((4,), 0.25))
    given = {name: Batch(torch.zeros(4, 1), targets, torch.arange(4)) for name in ("main", "second")}
    seen = {n: Outputs(features=f, experts=z) for n, f, z in zip(given, features, logits, strict=True)}
    value = term(seen, given)
    weights = torch.where(COUNTS > 0, COUNTS, 1).double() ** -1.2
    soft = torch.zeros(4, 5, dtype=torch.float64).scatter_add(1, targets.index, targets.weight.double())
    weighted = soft * (weights / weights.sum() * 5)
    share = 1 - (epoch / 10) ** 2
    expected = torch.stack([share * cross_entropy(a, soft) + (1 - share) * cross_entropy(b, weighted) for a, b in logits]).sum()
    z = [term.projector(each) for each in features]
    p = [term.predictor(each) for each in z]
    for one, other in ((0, 1), (1, 0)):
        expected = expected - 4 * (F.normalize(p[one], dim=1) * F.normalize(z[other].detach(), dim=1)).sum(dim=1).mean()
    torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-8)
    wanted = [logits, features, term.projector.weight, term.predictor.weight]
    found = torch.autograd.grad(value, wanted, retain_graph=True)
    for slope, wanted_slope in zip(found, torch.autograd.grad(expected, wanted), strict=True):
        torch.testing.assert_close(slope, wanted_slope, rtol=1e-5, atol=1e-8)


def test_the_second_head_predicts_and_other_networks_are_refused() -> None:
    recipe = bound(composed("method=glmc", "dataset=digits_lt"))
    assert recipe.stages[0].network.target.__name__ == "TwoHeads"
    sentence = refused(composed("method=glmc", "ensemble=ride", "dataset=digits_lt"))
    assert "representation=glmc and ensemble=ride both set 'network'" in sentence


def test_values_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match="contrast must not be negative and dim must be at least 1"):
        GLMC(contrast=-1.0, classify=Classification(), stats=STATS, features=4)
    with pytest.raises(ConfigError, match="alpha must be above 0"):
        GlobalLocalMixture(0.0)
