"""Margins and count-dependent logits: empty classes, mixed labels, low precision, learnt statistics, invalid arguments."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounter
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.logit_adjustment import CDT, VS, Seesaw
from ltrun.loss import Classification
from ltrun.margin import GCL, LOCE, PML, RoBal, UncertaintyMargin
from ltrun.margin.gcl import cloud_sizes
from ltrun.margin.uncertainty import angular_logits
from ltrun.parts import Adjust
from ltrun.types import Batch, ClassStats, Clock, Labels, Outputs
from tests.support.cases import blind_view

STATS = ClassStats(torch.tensor([500, 60, 9, 1, 0]))  # one class with a single image, one with none
PARTS: dict[str, Callable[[ClassStats], Adjust]] = {
    "vs": lambda stats: VS(stats=stats),
    "cdt": lambda stats: CDT(stats=stats),
    "seesaw": lambda stats: Seesaw(num_classes=stats.num_classes),
    "gcl": lambda stats: GCL(stats=stats),
    "uncertainty": lambda stats: UncertaintyMargin(num_classes=stats.num_classes),
    "pml": lambda stats: PML(num_classes=stats.num_classes),
    "robal": lambda stats: RoBal(stats=stats),
    "loce": lambda stats: LOCE(num_classes=stats.num_classes),
}
LEARNING = ("seesaw", "uncertainty", "pml", "loce")  # parts that keep statistics of training


def outputs_of(rows: int, classes: int = 5, dtype: torch.dtype = torch.float32, seed: int = 0) -> Outputs:
    """Outputs of a cosine head of scale 30 on random features."""
    generator = torch.Generator().manual_seed(seed)
    features, head = torch.randn(rows, 16, generator=generator), torch.randn(classes, 16, generator=generator)
    cosines = F.normalize(features, dim=1) @ F.normalize(head, dim=1).T
    return Outputs(features=features.to(dtype), logits=(30 * cosines).to(dtype), scale=30.0, head=head.to(dtype))


def step(part: Adjust, outputs: Outputs, targets: Labels) -> None:
    """Calls `after_step`, as the trainer does after an optimizer step."""
    with torch.no_grad():
        part.after_step({"main": outputs}, {"main": Batch(torch.zeros(len(targets), 1), targets, torch.arange(len(targets)))})


def next_epoch(part: Adjust, epoch: int = 1) -> None:
    part.adapt(blind_view(Clock("joint", epoch, 200), STATS))


def trained(name: str, stats: ClassStats = STATS, steps: int = 3) -> Adjust:
    """A part in its second epoch, after a few steps on classes 0 to 3."""
    torch.manual_seed(0)
    part = PARTS[name](stats)
    next_epoch(part, 0)
    for seed in range(steps):
        labels = torch.tensor([0, 0, 0, 1, 1, 2, 3])
        step(part, outputs_of(7, stats.num_classes, seed=seed), Labels.hard(labels))
    next_epoch(part)
    return part


def loss_of(part: Adjust, outputs: Outputs, targets: Labels) -> Tensor:
    assert outputs.logits is not None
    return Classification(adjusts=[part]).loss(outputs.logits, targets, outputs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("labels", [[3], [0, 0, 0], [0, 1, 2, 3, 3]], ids=["batch of one", "one class", "no class 4"])
@pytest.mark.parametrize("name", PARTS)
def test_loss_and_gradient_are_finite(name: str, labels: list[int], dtype: torch.dtype) -> None:
    part, targets = trained(name), Labels.hard(torch.tensor(labels))
    outputs = outputs_of(len(labels), dtype=dtype, seed=9)
    assert outputs.logits is not None
    logits = outputs.logits.requires_grad_()
    loss = loss_of(part, outputs, targets)
    loss.backward()
    assert loss.isfinite() and logits.grad is not None and logits.grad.isfinite().all() and logits.grad.any()
    step(part, outputs.detach(), targets)
    next_epoch(part)
    assert all(buffer.isfinite().all() for buffer in part.buffers())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", PARTS)
def test_loss_and_gradient_are_finite_where_the_network_is_certain(name: str, dtype: torch.dtype) -> None:
    part, head = trained(name), torch.eye(5, 16)
    logits = (30 * torch.tensor([[1.0, 0, 0, 0, 0], [1, 0, 0, 0, 0], [-1, 0, 0, 0, 0]])).to(dtype).requires_grad_()
    outputs = Outputs(features=torch.zeros(3, 16), logits=logits, scale=30.0, head=head)
    targets = Labels.hard(torch.tensor([0, 3, 0]))
    loss = loss_of(part, outputs, targets)
    loss.backward()
    assert loss.isfinite() and logits.grad is not None and logits.grad.isfinite().all()
    for _ in range(300):  # class 3 is never recognised
        step(part, outputs.detach(), targets)
    assert loss_of(part, outputs.detach(), targets).isfinite()


@pytest.mark.parametrize("name", PARTS)
def test_a_batch_leaves_the_statistics_of_absent_classes_alone(name: str) -> None:
    part = trained(name)
    before = {key: value.clone() for key, value in part.named_buffers()}
    step(part, outputs_of(4, seed=5), Labels.hard(torch.tensor([0, 1, 2, 0])))
    for key, value in part.named_buffers():
        if key != "before":  # PML's copy of the class statistics that the step used
            torch.testing.assert_close(value[3:], before[key][3:], rtol=0, atol=0)


@pytest.mark.parametrize("name", PARTS)
def test_compiles_to_one_graph(name: str) -> None:
    part, outputs, labels = trained(name), outputs_of(6, seed=7), torch.tensor([0, 1, 2, 3, 3, 0])
    counter = CompileCounter()
    compiled = torch.compile(lambda x, y: part(x, y, outputs), fullgraph=True, backend=counter)
    for seed in (0, 1):
        torch.manual_seed(seed)
        found = compiled(outputs.logits, labels)
        torch.manual_seed(seed)
        torch.testing.assert_close(found, part(outputs.logits, labels, outputs))
        addresses = {key: value.data_ptr() for key, value in part.named_buffers()}
        step(part, outputs, Labels.hard(labels))
        next_epoch(part, 2)
        assert {key: value.data_ptr() for key, value in part.named_buffers()} == addresses  # a CUDA graph keeps reading them
    assert counter.frame_count == 1  # new statistics compile no second graph


@pytest.mark.parametrize("name", PARTS)
def test_evaluating_the_loss_changes_no_statistics(name: str) -> None:
    """An ensemble evaluates the loss once for each expert, and some updates take two gradients a step."""
    part, outputs, targets = trained(name), outputs_of(4, seed=3), Labels.hard(torch.tensor([0, 1, 2, 3]))
    state = {key: value.clone() for key, value in part.state_dict().items()}
    torch.manual_seed(0)
    first = loss_of(part, outputs, targets)
    torch.manual_seed(0)
    assert loss_of(part, outputs, targets) == first
    assert all(torch.equal(value, state[key]) for key, value in part.state_dict().items())


@pytest.mark.parametrize("name", PARTS)
def test_two_equal_columns_are_one_label(name: str) -> None:
    """A row mixed with a row of the same class counts as one row of this class, in the loss and in the statistics."""
    labels, keep = torch.tensor([0, 1, 2, 3]), torch.tensor([0.2, 0.5, 0.9, 1.0])
    hard, outputs = Labels.hard(labels), outputs_of(4, seed=3)
    mixed = hard.mix(hard, keep)
    parts = [trained(name), trained(name)]
    losses = []
    for part, targets in zip(parts, (hard, mixed), strict=True):
        if name == "gcl":  # each column draws its own noise
            part.amplitude = 0.0  # type: ignore[assignment]
        losses.append(loss_of(part, outputs, targets))
        torch.manual_seed(1)
        step(part, outputs, targets)
    torch.testing.assert_close(losses[0], losses[1])
    for one, other in zip(parts[0].buffers(), parts[1].buffers(), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", LEARNING)
def test_learnt_statistics_are_in_the_checkpoint(name: str) -> None:
    part, resumed = trained(name), PARTS[name](STATS)
    resumed.load_state_dict(part.state_dict())
    outputs, targets = outputs_of(4, seed=3), Labels.hard(torch.tensor([0, 1, 2, 3]))
    assert loss_of(resumed, outputs, targets) == loss_of(part, outputs, targets)
    assert loss_of(PARTS[name](STATS), outputs, targets) != loss_of(part, outputs, targets)


def test_seesaw_counts_mixed_rows_by_their_shares() -> None:
    part = Seesaw(num_classes=3)
    targets = Labels.hard(torch.tensor([0, 1])).mix(Labels.hard(torch.tensor([2, 2])), torch.tensor([0.75, 0.5]))
    step(part, Outputs(), targets)
    assert part.counts.tolist() == [0.75, 0.5, 0.75]


def test_rarer_classes_have_to_win_by_a_larger_margin() -> None:
    assert (CDT(stats=STATS).temperatures[:4].diff() > 0).all()
    assert (GCL(stats=STATS).sizes[:4].diff() > 0).all()
    assert GCL(stats=STATS).sizes[[0, 3, 4]].tolist() == [0, 1, 1]
    robal = RoBal(stats=STATS)
    bound = 10 * robal.margins - robal.bias  # in all, off the label's logit: the bias outweighs the margin's order
    assert (bound[:4].diff() > 0).all()


def test_seesaw_mitigates_the_penalty_on_rarer_classes_and_compensates_for_mistakes() -> None:
    part, labels = Seesaw(num_classes=2), torch.tensor([0])
    part.counts.copy_(torch.tensor([99.0, 10.0]))
    even = part(torch.zeros(1, 2), labels, Outputs())
    assert even[0, 0] == 0 and even[0, 1].item() == pytest.approx(0.8 * torch.tensor(0.1).log().item())
    mistaken = part(torch.tensor([[0.0, 1.0]]), labels, Outputs())
    assert mistaken[0, 1].item() == pytest.approx(even[0, 1].item() + 1 + 2)  # (s_j / s_y) ** 2 is e ** 2
    part.counts.copy_(torch.tensor([10.0, 99.0]))
    assert not part(torch.zeros(1, 2), labels, Outputs()).any()  # a more frequent class is left alone


def test_equal_counts_give_clouds_of_size_zero() -> None:
    assert cloud_sizes(torch.tensor([7, 7, 7])).tolist() == [0, 0, 0]


def test_loce_starts_without_margins_and_then_favours_unrecognised_classes() -> None:
    part, logits = LOCE(momentum=0.0, num_classes=3), torch.zeros(2, 3)
    labels = torch.tensor([0, 1])
    torch.testing.assert_close(LOCE(num_classes=3)(logits[:0], labels[:0], Outputs()), logits[:0])
    step(part, Outputs(logits=torch.tensor([[4.0, 0, 0], [0, 0, 0], [0, 0, 2]])), Labels.hard(torch.tensor([0, 1, 2])))
    assert part.scores[0] > part.scores[2] > part.scores[1]
    adjusted = part(torch.zeros(1, 3), torch.tensor([1]), Outputs())[0]
    assert adjusted[0] > adjusted[2] > adjusted[1] == 0


def test_the_uncertainty_margin_is_largest_for_the_least_certain_class() -> None:
    """Features on a class weight are certain; features between two weights are not."""
    part, head = UncertaintyMargin(num_classes=3), torch.eye(3, 64).repeat_interleave(1, 0)
    head = torch.cat([torch.eye(3)] * 21 + [torch.zeros(3, 1)], dim=1)
    features = torch.cat([head[:1].expand(50, -1), (head[1:2] + head[2:3]).expand(50, -1)])
    logits = 30 * F.normalize(features, dim=1) @ F.normalize(head, dim=1).T
    torch.manual_seed(0)
    next_epoch(part, 0)
    assert part.margins.tolist() == [1, 1, 1]  # the first epoch has no margins
    outputs = Outputs(features=features, logits=logits, scale=30.0, head=head)
    step(part, outputs, Labels.hard(torch.tensor([0] * 50 + [1] * 50)))
    next_epoch(part)
    assert part.margins.tolist() == [1.0, 1.5, 1.0]
    assert not part.sums.any() and not part.shares.any()


def test_the_angular_logit_falls_with_the_angle_and_never_exceeds_the_cosine() -> None:
    cosines = torch.linspace(1, -1, 1001, dtype=torch.float64)[:, None].expand(-1, 2)
    labels = torch.zeros(1001, dtype=torch.long)
    for factor in (1.0, 1.3, 2.0, 3.7):
        psi = angular_logits(cosines, labels, torch.tensor([factor, 1.0], dtype=torch.float64), 1.0)[:, 0]
        assert (psi.diff() <= 0).all() and (psi <= cosines[:, 0] + 1e-6).all()


def test_progressive_margins_are_learnt_and_standardised() -> None:
    part, outputs, labels = trained("pml"), outputs_of(4, seed=3), torch.tensor([0, 1, 2, 3])
    assert outputs.logits is not None
    taken = (outputs.logits - part(outputs.logits, labels, outputs)) / 30
    torch.testing.assert_close(taken.mean(1), torch.zeros(4), rtol=0, atol=1e-6)
    torch.testing.assert_close(taken.std(1), torch.full((4,), 0.01), rtol=1e-3, atol=0)
    loss_of(part, outputs, Labels.hard(labels)).backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in part.parameters())


@pytest.mark.parametrize("make", [GCL, RoBal])
def test_a_margin_uses_its_own_scale_whatever_the_scale_of_the_head(make: Callable[..., Adjust]) -> None:
    cosines, labels, part, results = torch.rand(4, 5), torch.tensor([0, 1, 2, 3]), make(stats=STATS), []
    for scale in (1.0, 16.0, 30.0):
        torch.manual_seed(0)
        results.append(part(scale * cosines, labels, Outputs(logits=scale * cosines, scale=scale)))
    torch.testing.assert_close(results[0], results[1])
    torch.testing.assert_close(results[0], results[2])


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: VS(-0.1, stats=STATS), "gamma"),
        (lambda: VS(tau=-1.0, stats=STATS), "tau"),
        (lambda: CDT(-0.1, stats=STATS), "gamma"),
        (lambda: Seesaw(p=-1.0, num_classes=5), "p"),
        (lambda: Seesaw(q=-1.0, num_classes=5), "q"),
        (lambda: Seesaw(eps=0.0, num_classes=5), "eps"),
        (lambda: GCL(amplitude=-1.0, stats=STATS), "amplitude"),
        (lambda: GCL(margin=-1.0, stats=STATS), "margin"),
        (lambda: GCL(scale=0.0, stats=STATS), "scale"),
        (lambda: UncertaintyMargin(max_margin=0.9, num_classes=5), "max_margin"),
        (lambda: UncertaintyMargin(scale=0.0, num_classes=5), "scale"),
        (lambda: UncertaintyMargin(rate=1.0, num_classes=5), "rate"),
        (lambda: UncertaintyMargin(passes=1, num_classes=5), "passes"),
        (lambda: PML(strength=-1.0, num_classes=5), "strength"),
        (lambda: PML(scale=0.0, num_classes=5), "scale"),
        (lambda: PML(hidden=0, num_classes=5), "hidden"),
        (lambda: RoBal(margin=-1.0, stats=STATS), "margin"),
        (lambda: RoBal(tau_margin=-1.0, stats=STATS), "tau_margin"),
        (lambda: RoBal(tau_bias=-1.0, stats=STATS), "tau_bias"),
        (lambda: RoBal(scale=0.0, stats=STATS), "scale"),
        (lambda: LOCE(1.0, num_classes=5), "momentum"),
    ],
)
def test_a_senseless_value_is_refused_by_name(make: Callable[[], object], argument: str) -> None:
    with pytest.raises(ConfigError, match=f"^{argument} must"):
        make()
