"""Focal and class weights, their deferral, LDAM and logit adjustment: empty classes, low precision, compilation."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounter

from ltrun.errors import ConfigError
from ltrun.logit_adjustment import BalancedSoftmax, LogitAdjustment
from ltrun.logit_adjustment.logit_adjustment import log_prior
from ltrun.loss import Classification
from ltrun.margin import LDAM
from ltrun.parts import Adjust, Weigh
from ltrun.posthoc import LogitAdjustment as PostHocLogitAdjustment
from ltrun.reweighting import Deferred, EffectiveNumber, Focal, InverseFrequency
from ltrun.types import ClassStats, Clock, Labels, Outputs
from tests.support.cases import blind_view

STATS = ClassStats(torch.tensor([500, 60, 9, 1, 0]))  # one class with a single image, one with none
ADJUSTS: dict[str, Callable[[ClassStats], Adjust]] = {
    "ldam": lambda stats: LDAM(stats=stats),
    "balanced_softmax": lambda stats: BalancedSoftmax(stats=stats),
    "logit_adjustment": lambda stats: LogitAdjustment(stats=stats),
}
WEIGHS: dict[str, Callable[[ClassStats], Weigh]] = {
    "class_balanced": lambda stats: EffectiveNumber(stats=stats),
    "inverse_frequency": lambda stats: InverseFrequency(stats=stats),
    "focal": lambda stats: Focal(),
    "drw": lambda stats: at_epoch(Deferred(EffectiveNumber(stats=stats)), 160),
}
PARTS = {**ADJUSTS, **WEIGHS}


def at_epoch(part: Weigh, epoch: int, epochs: int = 200) -> Weigh:
    part.adapt(blind_view(Clock("joint", epoch, epochs), STATS))
    return part


def loss_of(name: str, logits: Tensor, labels: list[int], stats: ClassStats = STATS) -> Tensor:
    part = PARTS[name](stats)
    classification = Classification(
        adjusts=[part] if isinstance(part, Adjust) else [], weighs=[part] if isinstance(part, Weigh) else []
    )
    return classification.loss(logits, Labels.hard(torch.tensor(labels)), Outputs(logits=logits, scale=30.0))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_focal_is_finite_where_the_network_is_certain(gamma: float, dtype: torch.dtype) -> None:
    logits = torch.tensor([[200.0, 0.0], [0.0, 200.0], [0.0, 0.0]], dtype=dtype, requires_grad=True)
    labels = torch.tensor([0, 0, 0])
    loss = Classification(weighs=[Focal(gamma)]).loss(logits, Labels.hard(labels), Outputs(logits=logits))
    loss.backward()
    assert loss.isfinite() and logits.grad is not None and logits.grad.isfinite().all()


@pytest.mark.parametrize("name", PARTS)
def test_a_class_without_images_changes_nothing_for_the_others(name: str) -> None:
    logits = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    logits[:, 4] = -1e4
    counts = torch.tensor([500, 60, 9, 4, 0])
    without = loss_of(name, logits[:, :4], [0, 1, 2, 3], ClassStats(counts[:4]))
    torch.testing.assert_close(loss_of(name, logits, [0, 1, 2, 3], ClassStats(counts)), without)


@pytest.mark.parametrize("name", PARTS)
def test_every_row_is_treated_on_its_own(name: str) -> None:
    part, logits, labels = PARTS[name](STATS), torch.randn(4, 5), torch.tensor([0, 1, 2, 3])
    whole = part(logits, labels, Outputs(logits=logits))
    assert whole.shape == ((4, 5) if isinstance(part, Adjust) else (4,)) and whole.isfinite().all()
    rows = [part(logits[i : i + 1], labels[i : i + 1], Outputs(logits=logits[i : i + 1])) for i in range(4)]
    torch.testing.assert_close(whole, torch.cat(rows))


@pytest.mark.parametrize("name", PARTS)
def test_compiles_to_one_graph(name: str) -> None:
    part, logits, labels = PARTS[name](STATS), torch.randn(6, 5), torch.tensor([0, 1, 2, 3, 3, 0])
    outputs = Outputs(logits=logits, scale=30.0)
    compiled = torch.compile(lambda x, y: part(x, y, outputs), fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(logits, labels), part(logits, labels, outputs))


def test_a_deferred_switch_reaches_a_compiled_step() -> None:
    part, logits, labels = Deferred(EffectiveNumber(stats=STATS)), torch.randn(4, 5), torch.tensor([0, 1, 2, 3])
    counter = CompileCounter()
    compiled = torch.compile(lambda x, y: part(x, y, Outputs()), backend=counter, fullgraph=True)
    address = part.active.data_ptr()
    at_epoch(part, 159)
    assert compiled(logits, labels).tolist() == [1.0] * 4
    at_epoch(part, 160)
    torch.testing.assert_close(compiled(logits, labels), EffectiveNumber(stats=STATS)(logits, labels, Outputs()))
    assert counter.frame_count == 1  # no recompilation
    assert part.active.data_ptr() == address  # a CUDA graph keeps reading the memory that it was captured with


def test_the_deferred_switch_scales_with_the_length_of_the_stage() -> None:
    """The code of LDAM-DRW and CMO has `epoch // 160`: it never switches in a shorter run and fails in a longer one."""
    logits, labels = torch.zeros(4, 5), torch.tensor([0, 1, 2, 3])
    for epochs in (5, 10, 200, 400, 1000):
        part = Deferred(EffectiveNumber(stats=STATS))
        ones = [bool((at_epoch(part, e, epochs)(logits, labels, Outputs()) == 1).all()) for e in range(epochs)]
        assert ones == [epoch < int(0.8 * epochs) for epoch in range(epochs)]


def test_a_deferred_switch_is_in_the_checkpoint() -> None:
    saved = at_epoch(Deferred(EffectiveNumber(stats=STATS)), 160).state_dict()
    resumed = Deferred(EffectiveNumber(stats=STATS))
    resumed.load_state_dict(saved)
    assert resumed(torch.zeros(1, 5), torch.tensor([3]), Outputs()) != 1


@pytest.mark.parametrize(("then", "mean"), [(EffectiveNumber(stats=STATS), "weights"), (Focal(), "batch")])
def test_deferred_takes_the_mean_as_the_deferred_part_does(then: Weigh, mean: str) -> None:
    assert Deferred(then).mean == then.mean == mean


def test_a_class_without_images_has_the_prior_of_the_rarest_class() -> None:
    for tau in (0.5, 1.0, 2.0):
        assert log_prior(torch.tensor([9, 1, 0]), tau)[2].item() == pytest.approx(tau * math.log(0.1))


def test_ldam_uses_its_own_scale_whatever_the_scale_of_the_head() -> None:
    cosines, labels, part = torch.rand(4, 5), torch.tensor([0, 1, 2, 3]), LDAM(stats=STATS)
    results = [part(s * cosines, labels, Outputs(logits=s * cosines, scale=s)) for s in (1.0, 16.0, 30.0)]
    torch.testing.assert_close(results[0], results[1])
    torch.testing.assert_close(results[0], results[2])


def test_tail_classes_get_larger_margins_and_weights() -> None:
    for values in (LDAM(stats=STATS).margins, EffectiveNumber(stats=STATS).weights, InverseFrequency(stats=STATS).weights):
        assert (values[:4].diff() > 0).all()


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: EffectiveNumber(1.0, stats=STATS), "beta"),
        (lambda: InverseFrequency(-1.0, stats=STATS), "exponent"),
        (lambda: Focal(-1.0), "gamma"),
        (lambda: Deferred(Focal(), 160), "start"),
        (lambda: LDAM(-0.5, stats=STATS), "max_margin"),
        (lambda: LDAM(scale=0.0, stats=STATS), "scale"),
        (lambda: LogitAdjustment(-1.0, stats=STATS), "tau"),
        (lambda: PostHocLogitAdjustment(-1.0, stats=STATS), "tau"),
    ],
)
def test_a_senseless_value_is_refused_by_name(make: Callable[[], object], argument: str) -> None:
    with pytest.raises(ConfigError, match=f"^{argument} must"):
        make()
