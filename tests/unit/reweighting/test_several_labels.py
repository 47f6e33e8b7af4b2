"""Re-weighting of rows with several labels: edges, mixed labels, one label as several, wrong arguments."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.loss import Classification
from ltrun.metrics import BOTH, MULTI_LABEL
from ltrun.parts import Criterion, Part, Weigh
from ltrun.reweighting import (
    Asymmetric,
    AsymmetricSoftmax,
    Deferred,
    DeferredCriterion,
    EffectiveNumber,
    EqualizationV2,
    Focal,
    InverseFrequency,
    Rebalanced,
    SigmoidEqualization,
    SigmoidFocal,
)
from ltrun.reweighting.equalization import equalization_of_several, rare_classes
from ltrun.types import Batch, ClassStats, Clock, MultiHot, Outputs
from tests.support.cases import blind_view

STATS = ClassStats(torch.tensor([60, 20, 5, 1, 0]), rows=64)  # one class with a single image, one with none
HOT = torch.tensor([[1.0, 1, 0, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 0], [1, 0, 1, 0, 0]])
LOGITS = torch.linspace(-3, 3, 20).reshape(4, 5)
BARE = Outputs(logits=LOGITS)


def entries(part: Weigh | Criterion, hot: Tensor = HOT, logits: Tensor = LOGITS) -> Tensor:
    found: Tensor = part(logits, hot, Outputs(logits=logits))
    return found


def loss(hot: Tensor, logits: Tensor, criterion: Criterion | None = None, *weighs: Weigh) -> Tensor:
    return Classification(criterion=criterion, weighs=weighs).loss(logits, MultiHot(hot), Outputs(logits=logits))


PARTS: dict[str, Callable[[], Part]] = {
    "asymmetric": Asymmetric,
    "asymmetric with gradient": lambda: Asymmetric(0.5, 0.5, 0.0, detach=False),
    "focal": lambda: Focal(0.5),
    "focal of class weights": lambda: Focal(class_weights=InverseFrequency(stats=STATS)),
    "sigmoid focal": lambda: SigmoidFocal(0.5, num_classes=5),
    "inverse frequency": lambda: InverseFrequency(stats=STATS),
    **{f"class-balanced {mode}": lambda mode=mode: EffectiveNumber(mode=mode, stats=STATS)  # type: ignore[misc]
       for mode in ("by_class", "average_w", "average_n", "min_n")},
    "deferred": lambda: Deferred(EffectiveNumber(stats=STATS), 0.0),
    "deferred criterion": lambda: DeferredCriterion(SigmoidFocal(num_classes=5), 0.0),
    "rebalanced": lambda: Rebalanced(stats=STATS),
    "EQL": lambda: SigmoidEqualization(stats=STATS),
    "EQL v2": lambda: EqualizationV2(num_classes=5),
}  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("hot", [HOT, HOT * 0.3, HOT * 0, HOT * 0 + 1], ids=["hard", "mixed", "without labels", "all labels"])
@pytest.mark.parametrize("name", PARTS)
def test_loss_and_gradient_are_finite(name: str, hot: Tensor, dtype: torch.dtype) -> None:
    part = PARTS[name]()
    assert part.accepts >= {MULTI_LABEL}
    logits = torch.cat([LOGITS, LOGITS * 30]).to(dtype).requires_grad_()
    for module in part.modules():
        if isinstance(module, Part):
            module.adapt(blind_view(Clock("train", 1, 2), STATS))
    weighs = [part] if isinstance(part, Weigh) else []
    value = loss(torch.cat([hot, hot]), logits, part if isinstance(part, Criterion) else None, *weighs)
    (slope,) = torch.autograd.grad(value, logits)
    assert value.isfinite() and slope.isfinite().all() and slope.any()


def test_a_row_without_labels() -> None:
    empty = torch.zeros(1, 5)
    weights = entries(Rebalanced(stats=STATS), empty, LOGITS[:1])
    torch.testing.assert_close(weights, torch.full((1, 5), 0.1 + 1 / (1 + math.exp(3))))
    for mode in ("average_w", "average_n", "min_n"):
        part = EffectiveNumber(0.9, mode=mode, scaled=False, stats=STATS)
        torch.testing.assert_close(entries(part, empty, LOGITS[:1]), torch.full((1, 5), 0.1))


def test_a_class_without_images_counts_as_the_rarest() -> None:
    torch.testing.assert_close(entries(InverseFrequency(stats=STATS))[0], torch.tensor([64 / 60, 3.2, 12.8, 64, 64]))
    torch.testing.assert_close(entries(InverseFrequency(0.5, stats=STATS))[0, 3:], torch.tensor([8.0, 8.0]))
    weights = entries(Rebalanced(stats=STATS))
    assert torch.equal(weights[:3, 3], weights[:3, 4])


def test_mixed_labels_enter_the_rebalanced_weights_by_their_share() -> None:
    hot = torch.tensor([[0.25, 0.75, 0.0, 0.0, 0.0]])
    repeated = 0.25 / 60 + 0.75 / 20
    expected = [0.1 + 1 / (1 + math.exp(-10 * (1 / n / repeated - 0.3))) for n in (60, 20, 5, 1, 1)]
    torch.testing.assert_close(entries(Rebalanced(stats=STATS), hot, LOGITS[:1])[0], torch.tensor(expected))


def test_focal_is_a_weight_or_a_criterion() -> None:
    """Of mixed labels too, where exp(-BCE) is taken for the probability, as in VideoLT's FrameStack."""
    for hot in (HOT, HOT * 0.3):
        as_criterion = loss(hot, LOGITS, SigmoidFocal(2.0, balance=2.0, num_classes=5))
        torch.testing.assert_close(as_criterion, loss(hot, LOGITS, None, Focal(2.0, balance=2.0)))
        torch.testing.assert_close(loss(hot, LOGITS, SigmoidFocal(0.0, num_classes=5)), loss(hot, LOGITS))


def test_an_initial_probability_moves_logits_only_where_it_is_given() -> None:
    """Several labels are predicted where the plain logit is above 0, so 1 / C is no default there."""
    plain = loss(HOT, LOGITS)
    torch.testing.assert_close(loss(HOT, LOGITS, SigmoidFocal(0.0, num_classes=5)), plain)
    start = math.log(0.01 / 0.99)
    torch.testing.assert_close(loss(HOT, LOGITS, SigmoidFocal(0.0, 0.01, num_classes=5)), loss(HOT, LOGITS + start))


def test_the_asymmetric_loss_drops_easy_negatives_and_is_a_mean_over_rows() -> None:
    easy = torch.full((2, 5), -3.0)  # p = 0.047
    assert not loss(torch.zeros(2, 5), easy, Asymmetric()).any()
    many = loss(HOT.repeat(3, 1), LOGITS.repeat(3, 1), Asymmetric())
    torch.testing.assert_close(many, loss(HOT, LOGITS, Asymmetric()))
    torch.testing.assert_close(loss(HOT, LOGITS, Asymmetric(0.0, 0.0, 0.0)), 5 * loss(HOT, LOGITS))


def test_a_deferred_criterion_begins_with_the_binary_cross_entropy() -> None:
    part = DeferredCriterion(Asymmetric(), 0.5)
    torch.testing.assert_close(loss(HOT, LOGITS, part), 5 * loss(HOT, LOGITS))  # the mean over rows, as the criterion's
    weigh = Deferred(InverseFrequency(stats=STATS), 0.5)
    torch.testing.assert_close(loss(HOT, LOGITS, None, weigh), loss(HOT, LOGITS))
    weigh.adapt(blind_view(Clock("train", 1, 2), STATS))
    torch.testing.assert_close(loss(HOT, LOGITS, None, weigh), loss(HOT, LOGITS, None, InverseFrequency(stats=STATS)))


def test_rare_classes_by_share_or_by_number_of_images() -> None:
    assert rare_classes(STATS.counts, None, 64).tolist() == [False, False, True, True, True]  # below 1 / 10
    assert SigmoidEqualization(rare_up_to=20, stats=STATS).rare.tolist() == [False, True, True, True, True]
    kept = SigmoidEqualization(gamma=0.0, stats=STATS)
    torch.testing.assert_close(loss(HOT, LOGITS, kept), loss(HOT, LOGITS))


def test_equalization_drops_the_negative_share_of_a_mixed_label() -> None:
    """VideoLT's weight is 1 - beta * tail * (1 - y)."""
    hot = torch.tensor([[0.25, 0.0, 1.0]])
    logits = torch.tensor([[1.0, -1.0, 0.5]])
    full = equalization_of_several(logits, hot, torch.zeros(1, 3, dtype=torch.bool))
    spared = equalization_of_several(logits, hot, torch.ones(1, 3, dtype=torch.bool))
    torch.testing.assert_close(spared, full * hot)


def test_equalization_v2_counts_what_counts() -> None:
    """An entry that is left out of the loss leaves no gradient: VideoLT's samplers leave out co-labels."""
    part = EqualizationV2(num_classes=5)
    counted = torch.ones(4, 5)
    counted[0, 0] = 0
    batch = Batch(LOGITS, MultiHot(HOT, counted), torch.arange(4))
    part.after_step({"main": BARE}, {"main": batch})
    positive = (torch.sigmoid(-LOGITS) * HOT * counted).sum(0)  # the weights of the first batch are 1
    torch.testing.assert_close(part.positive_gradient, positive)


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: Rebalanced(alpha=-0.1, stats=STATS), "alpha and beta must not be negative"),
        (lambda: Rebalanced(beta=-1.0, stats=STATS), "alpha and beta must not be negative"),
        (lambda: Asymmetric(gamma_negative=-1.0), "gamma_negative and gamma_positive must not be negative"),
        (lambda: Asymmetric(clip=1.0), "clip must be a probability"),
        (lambda: AsymmetricSoftmax(smoothing=1.0), "smoothing must be a share"),
        (lambda: AsymmetricSoftmax(gamma_positive=-1.0), "gamma_negative and gamma_positive must not be negative"),
        (lambda: Focal(balance=0.0), "balance must be above 0"),
        (lambda: SigmoidFocal(balance=0.0, num_classes=5), "balance must be above 0"),
        (lambda: SigmoidEqualization(rare_up_to=-1, stats=STATS), "rare_up_to must not be negative"),
        (lambda: SigmoidEqualization(threshold=0.1, rare_up_to=3, stats=STATS), "rare_up_to must not .* needs threshold=null"),
    ],
)
def test_wrong_arguments_are_refused(build: Callable[[], Part], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build()


def test_parts_of_both_tasks_say_so() -> None:
    both = (Focal, SigmoidFocal, InverseFrequency, EffectiveNumber, SigmoidEqualization, EqualizationV2, Deferred)
    assert all(part.accepts == BOTH for part in (*both, DeferredCriterion))
    assert Rebalanced.accepts == Asymmetric.accepts == {MULTI_LABEL}
    assert MULTI_LABEL not in AsymmetricSoftmax.accepts
