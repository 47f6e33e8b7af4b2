"""Re-weighting parts: empty classes, mixed labels, low precision, learnt state, deferral, compilation."""

from collections.abc import Callable

import pytest
import torch
from torch._dynamo.testing import CompileCounter
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.logit_adjustment import VS
from ltrun.logit_adjustment import Deferred as DeferredAdjust
from ltrun.parts import Part
from ltrun.reweighting import (
    AdaptiveClassSuppression,
    ClassDifficultyBalanced,
    Deferred,
    DeferredCriterion,
    EffectiveNumber,
    EqualizationV2,
    Focal,
    InfluenceBalanced,
    LabelAwareSmoothing,
    SigmoidEqualization,
    SigmoidFocal,
    SoftmaxEqualization,
)
from ltrun.types import ClassStats, Labels, Outputs
from tests.support.reweighting import AS_IT_IS, STATS, at_epoch, composed, influence_balanced, loss_of, outputs_of, step

PARTS: dict[str, Callable[[ClassStats], Part]] = {
    "focal_detached": lambda stats: Focal(2.0, detach=True),
    "focal_class_weighted": lambda stats: Focal(class_weights=EffectiveNumber(stats=stats)),
    "class_balanced_over_the_batch": lambda stats: EffectiveNumber(mean="batch", stats=stats),
    "influence_balanced": lambda stats: at_epoch(Deferred(influence_balanced(stats), 0.5), 100),
    "class_difficulty_balanced": lambda stats: ClassDifficultyBalanced(stats=stats),
    "softmax_equalization": lambda stats: SoftmaxEqualization(1.0, 0.05, stats=stats),
    "sigmoid_focal": lambda stats: SigmoidFocal(2.0, AS_IT_IS, num_classes=stats.num_classes),
    "sigmoid": lambda stats: SigmoidFocal(0.0, AS_IT_IS, num_classes=stats.num_classes),
    "sigmoid_equalization": lambda stats: SigmoidEqualization(1.0, 0.05, AS_IT_IS, stats=stats),
    "equalization_v2": lambda stats: EqualizationV2(initial_probability=AS_IT_IS, num_classes=stats.num_classes),
    "adaptive_class_suppression": lambda stats: AdaptiveClassSuppression(
        initial_probability=AS_IT_IS, num_classes=stats.num_classes
    ),
    "label_aware_smoothing": lambda stats: LabelAwareSmoothing(stats=stats),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", PARTS)
def test_loss_and_gradient_are_finite_where_the_network_is_certain(name: str, dtype: torch.dtype) -> None:
    logits = torch.tensor([[200.0, 0, 0, 0, 0], [0, 200.0, 0, 0, 0], [0.0, 0, 0, 0, 0]], dtype=dtype, requires_grad=True)
    loss = loss_of(PARTS[name](STATS), logits, [0, 0, 3])
    loss.backward()
    assert loss.isfinite() and logits.grad is not None and logits.grad.isfinite().all()


@pytest.mark.parametrize("name", [name for name in PARTS if name != "label_aware_smoothing"])  # it gives mass to all classes
def test_a_class_without_images_changes_nothing_for_the_others(name: str) -> None:
    logits = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    logits[:, 4] = -1e4
    counts = torch.tensor([500, 60, 9, 4, 0])
    without = loss_of(PARTS[name](ClassStats(counts[:4])), logits[:, :4], [0, 1, 2, 3])
    torch.testing.assert_close(loss_of(PARTS[name](ClassStats(counts)), logits, [0, 1, 2, 3]), without)


@pytest.mark.parametrize("name", PARTS)
def test_the_loss_of_mixed_labels_is_the_mixture_of_their_losses(name: str) -> None:
    part, logits = PARTS[name](STATS), torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    first, second = torch.tensor([0, 1, 2, 3]), torch.tensor([3, 3, 0, 0])
    mixed = Labels.hard(first).mix(Labels.hard(second), torch.full((4,), 0.3))
    parts = [0.3 * loss_of(part, logits, first.tolist()), 0.7 * loss_of(part, logits, second.tolist())]
    torch.testing.assert_close(composed(part).loss(logits, mixed, outputs_of(logits)), sum(parts))


@pytest.mark.parametrize("name", PARTS)
def test_compiles_to_one_graph(name: str) -> None:
    torch.compiler.reset()  # all cases compile the lambda below, and the compiler allows one function eight versions
    part, logits, labels = PARTS[name](STATS), torch.randn(6, 5), torch.tensor([0, 1, 2, 3, 3, 0])
    outputs = outputs_of(logits)
    compiled = torch.compile(lambda x, y: part(x, y, outputs), fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(logits, labels), part(logits, labels, outputs))


@pytest.mark.parametrize("name", PARTS)
def test_state_survives_a_checkpoint(name: str) -> None:
    logits, labels = torch.randn(8, 5, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
    part, resumed = PARTS[name](STATS), PARTS[name](STATS)
    step(part, logits, Labels.hard(labels))
    resumed.load_state_dict(part.state_dict())
    losses = [loss_of(at_epoch(p, 150), logits, labels.tolist()) for p in (part, resumed)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("name", ["equalization_v2", "class_difficulty_balanced"])
def test_learnt_state_reaches_a_compiled_step(name: str) -> None:
    part, labels = PARTS[name](STATS), torch.tensor([0, 1, 2, 3, 3, 0])
    logits = torch.eye(5)[labels.where(labels != 3, 0)]  # class 3 is missed, the others are not
    addresses = [buffer.data_ptr() for buffer in part.buffers()]
    torch.compiler.reset()
    counter = CompileCounter()
    compiled = torch.compile(lambda x, y: part(x, y, Outputs()), backend=counter, fullgraph=True)
    before = compiled(logits, labels)
    step(part, logits, Labels.hard(labels))
    at_epoch(part, 1)
    after = compiled(logits, labels)
    assert not torch.equal(before, after)
    torch.testing.assert_close(after, part(logits, labels, Outputs()))
    assert counter.frame_count == 1  # no recompilation
    assert addresses == [buffer.data_ptr() for buffer in part.buffers()]  # a CUDA graph keeps reading the same memory


def test_a_forward_pass_leaves_the_learnt_state_alone() -> None:
    """Sharpness-aware and bilevel updates run more than one forward pass a step."""
    for name in ("equalization_v2", "class_difficulty_balanced"):
        part = PARTS[name](STATS)
        state = {key: value.clone() for key, value in part.state_dict().items()}
        loss_of(part, torch.randn(4, 5), [0, 1, 2, 3])
        assert all(torch.equal(value, state[key]) for key, value in part.state_dict().items())


def test_influence_balancing_starts_at_half_of_the_stage() -> None:
    logits, labels = torch.randn(4, 5), [0, 1, 2, 3]
    part = Deferred(influence_balanced(STATS), 0.5)
    plain = F.cross_entropy(logits, torch.tensor(labels))
    for epochs in (5, 10, 200, 400):
        same = [torch.allclose(loss_of(at_epoch(part, e, epochs), logits, labels), plain) for e in range(epochs)]
        assert same == [epoch < epochs // 2 for epoch in range(epochs)]


@pytest.mark.parametrize("name", ["weigh", "criterion", "adjust"])
def test_weights_criteria_and_adjustments_can_be_deferred(name: str) -> None:
    """The loss is plain cross-entropy before the switch and the deferred part's loss after the switch."""
    logits, labels = torch.randn(4, 5, generator=torch.Generator().manual_seed(0)), [0, 1, 2, 3]
    then, deferred = {
        "weigh": lambda: (then := Focal(2.0), Deferred(then)),
        "criterion": lambda: (then := LabelAwareSmoothing(stats=STATS), DeferredCriterion(then)),
        "adjust": lambda: (then := VS(stats=STATS), DeferredAdjust(then)),
    }[name]()
    plain, full = F.cross_entropy(logits, torch.tensor(labels)), loss_of(then, logits, labels)
    assert not torch.allclose(plain, full)
    for epochs in (5, 200, 1000):
        losses = [loss_of(at_epoch(deferred, epoch, epochs), logits, labels) for epoch in range(epochs)]
        expected = [plain] * int(0.8 * epochs) + [full] * (epochs - int(0.8 * epochs))
        torch.testing.assert_close(torch.stack(losses), torch.stack(expected))


def test_deferring_keeps_the_mean_over_the_batch() -> None:
    """Cui et al. divide by the batch size, LDAM-DRW by the sum of the weights."""
    assert Deferred(EffectiveNumber(mean="batch", stats=STATS)).mean == "batch"
    assert EffectiveNumber(stats=STATS).mean == "weights"


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: DeferredCriterion(LabelAwareSmoothing(stats=STATS), 160), "start"),
        (lambda: DeferredAdjust(VS(stats=STATS), -0.1), "start"),
        (lambda: SigmoidFocal(-1.0, num_classes=5), "gamma"),
        (lambda: SigmoidFocal(initial_probability=1.0, num_classes=5), "initial_probability"),
        (lambda: InfluenceBalanced(Focal(), alpha=0.0), "alpha"),
        (lambda: InfluenceBalanced(Focal(), epsilon=0.0), "epsilon"),
        (lambda: SoftmaxEqualization(1.5, stats=STATS), "gamma"),
        (lambda: SoftmaxEqualization(threshold=20.0, stats=STATS), "threshold"),
        (lambda: SigmoidEqualization(-0.5, stats=STATS), "gamma"),
        (lambda: EqualizationV2(alpha=-1.0, num_classes=5), "alpha and gamma"),
        (lambda: AdaptiveClassSuppression(1.0, num_classes=5), "threshold"),
        (lambda: ClassDifficultyBalanced(-1.0, stats=STATS), "tau"),
        (lambda: LabelAwareSmoothing(0.1, 0.4, stats=STATS), "smooth_tail"),
        (lambda: LabelAwareSmoothing(shape="power", stats=STATS), "power"),
        (lambda: LabelAwareSmoothing(power=2.0, stats=STATS), "power"),
    ],
)
def test_a_senseless_value_is_refused_by_name(make: Callable[[], object], argument: str) -> None:
    with pytest.raises(ConfigError, match=f"^{argument} must"):
        make()
