"""Bilevel update, and the meta-weight-net and meta sampler that it learns."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from ltrun.augmentation import CropFlip, Mixup
from ltrun.classifier import Linear
from ltrun.engine.objective import Objective
from ltrun.engine.update import Bilevel, _copies
from ltrun.engine.update import Plain as PlainStep
from ltrun.errors import ConfigError
from ltrun.loss import Classification
from ltrun.network import Bilateral, Plain, ResNetCIFAR
from ltrun.parts import Mixer, Network, Prepare, Sampler, Weigh
from ltrun.resampling import Instance, MetaSampler, RateRatio
from ltrun.reweighting import MetaWeightNet
from ltrun.types import Batch, ClassStats, Clock, Labels, Outputs
from tests.support.cases import FP32, Count, blind_view

COUNTS = torch.tensor([500, 60, 9, 1, 0])  # one class has a single image, one class has none
STATS = ClassStats(COUNTS)
LABELS = torch.arange(5).repeat_interleave(COUNTS)
CLOCK = Clock("train", 0, 2)
VIEW = blind_view(CLOCK, STATS)
WEIGHS: dict[str, Callable[[ClassStats], Weigh]] = {
    "meta_weight_net": lambda stats: MetaWeightNet(),
    "rate_ratio": lambda stats: RateRatio(sampler=MetaSampler(0.3, stats=stats)),
}


def loss_of(weigh: Weigh, logits: Tensor, targets: Labels) -> Tensor:
    return Classification(weighs=[weigh]).loss(logits, targets, Outputs(logits=logits))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("labels", [[3], [0, 0, 0], [0, 1, 2, 3, 3]], ids=["batch of one", "one class", "no class 4"])
@pytest.mark.parametrize("name", WEIGHS)
def test_loss_and_gradients_are_finite(name: str, labels: list[int], dtype: torch.dtype) -> None:
    logits = (30 * torch.rand(len(labels), 5, generator=torch.Generator().manual_seed(0)) - 15).to(dtype).requires_grad_()
    weigh = WEIGHS[name](STATS)
    loss = loss_of(weigh, logits, Labels.hard(torch.tensor(labels)))
    loss.backward()
    assert loss.isfinite() and logits.grad is not None and logits.grad.isfinite().all() and logits.grad.any()
    for parameter in weigh.parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all()


@pytest.mark.parametrize("name", WEIGHS)
def test_mixed_labels_of_one_class_are_hard_labels(name: str) -> None:
    weigh, logits = WEIGHS[name](STATS), torch.randn(4, 5)
    hard = Labels.hard(torch.tensor([0, 1, 2, 3]))
    torch.testing.assert_close(loss_of(weigh, logits, hard.mix(hard, torch.full((4,), 0.3))), loss_of(weigh, logits, hard))


def test_with_vanishing_weights_the_loss_is_the_plain_mean() -> None:
    weigh = MetaWeightNet()
    nn.init.constant_(weigh.second.bias, -1e4)
    logits, targets = torch.randn(4, 5), Labels.hard(torch.tensor([0, 1, 2, 3]))
    torch.testing.assert_close(loss_of(weigh, logits, targets), Classification().loss(logits, targets, Outputs()))


@pytest.mark.parametrize("name", WEIGHS)
def test_no_loop_over_classes(name: str) -> None:
    counts = []
    for classes in (3, 8_142):
        stats = ClassStats(torch.arange(classes) + 1)
        weigh = WEIGHS[name](stats)
        labels = torch.arange(12) % classes
        with Count() as count:
            assert loss_of(weigh, torch.zeros(12, classes), Labels.hard(labels)).isfinite()
            if isinstance(weigh, RateRatio):
                weigh.sampler.adapt(VIEW)
                weigh.sampler.draw(Labels.hard(labels), CLOCK, torch.Generator().manual_seed(0))
        counts.append(count.calls)
    assert counts[0] == counts[1]


def moved_sampler() -> MetaSampler:
    sampler = MetaSampler(stats=STATS)
    with torch.no_grad():
        sampler.logits.copy_(torch.tensor([-2.0, 0.0, 1.0, 3.0, 5.0]))
    return sampler


def draw(sampler: Sampler, seed: int = 0) -> Tensor:
    return sampler.draw(Labels.hard(LABELS), CLOCK, torch.Generator().manual_seed(seed))


def test_the_rows_of_an_epoch_follow_the_rates_at_its_beginning() -> None:
    sampler = moved_sampler()
    rates = torch.sigmoid(sampler.logits.detach().double())
    for expected in (COUNTS.double(), COUNTS * rates):  # the initial rates, and after `adapt` the current rates
        seen = torch.bincount(torch.cat([LABELS[draw(sampler, seed)] for seed in range(60)]), minlength=5).double()
        expected = expected / expected.sum() * seen.sum()
        chi_square = float(((seen - expected) ** 2 / expected)[:4].sum())
        assert seen[4] == 0 and chi_square < 16.3  # 0.1 %, 3 degrees of freedom
        sampler.adapt(VIEW)
    assert torch.equal(RateRatio(sampler=sampler)(torch.zeros(4, 5), torch.arange(4), Outputs()), torch.ones(4))


def test_a_draw_is_a_function_of_its_generator_alone() -> None:
    sampler, before = moved_sampler(), torch.get_rng_state()
    assert torch.equal(draw(sampler), draw(sampler)) and not torch.equal(draw(sampler), draw(sampler, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert draw(sampler).shape == LABELS.shape


def objective(
    weigh: Weigh, network: type[Plain] | type[Bilateral] = Plain, mixers: dict[str, Mixer] | None = None
) -> Objective:
    torch.manual_seed(0)
    head: Callable[[int], Linear] = lambda features: Linear(features=features, num_classes=5)  # noqa: E731
    net: Network = network(backbone=ResNetCIFAR(8, width=4, in_channels=1), make_head=head)
    names = ("main", "reversed", "meta")
    augments = {name: [CropFlip(1)] for name in names}
    return Objective(
        net, Scale(), augments, mixers or {}, {"classification": Classification(weighs=[weigh])}, {"classification": 1.0}, FP32
    )


class Scale(Prepare):
    def forward(self, inputs: Tensor) -> Tensor:
        return inputs / 255


def batch(labels: list[int]) -> Batch:
    images = torch.randint(
        0, 256, (len(labels), 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(len(labels))
    )
    return Batch(images, Labels.hard(torch.tensor(labels)), torch.arange(len(labels)))


STREAMS = {"main": batch([0, 0, 0, 0, 1, 1, 2, 3]), "reversed": batch([3, 3, 2, 2, 1, 1, 0, 0]), "meta": batch([0, 1, 2, 3])}


def train(goal: Objective, lr: float | None, steps: int = 3, virtual: str = "*") -> Bilevel | PlainStep:
    """Takes steps with momentum. lr: learning rate of the outer parameters; None for plain steps."""
    phi = [p for module in goal.modules() if getattr(module, "outer", False) for p in module.parameters()]
    update = PlainStep() if lr is None else Bilevel(lr=lr, virtual=[virtual], outer=phi)
    optimizer = torch.optim.SGD(goal.network.parameters(), 0.1, 0.9, weight_decay=1e-3)
    torch.manual_seed(1)
    for _ in range(steps):
        update(goal, optimizer, STREAMS)
    return update


@pytest.mark.parametrize("network", [Plain, Bilateral])
@pytest.mark.parametrize("virtual", ["*", "*head*"])
@pytest.mark.parametrize("name", WEIGHS)
def test_with_constant_outer_parameters_the_step_is_plain(name: str, virtual: str, network: type[Plain]) -> None:
    """Weights, momentum, batch statistics and random numbers: the virtual step leaves no trace, to the bit."""
    ends = []
    for lr in (1e-40, None):  # too small to move anything
        torch.manual_seed(2)
        goal = objective(WEIGHS[name](STATS), network, {"mixup": Mixup()})
        train(goal, lr, virtual=virtual)
        ends.append((goal.state_dict(), torch.get_rng_state()))
    assert ends[0][0].keys() == ends[1][0].keys() and torch.equal(ends[0][1], ends[1][1])
    assert all(torch.equal(ends[0][0][key], ends[1][0][key]) for key in ends[0][0])


@pytest.mark.parametrize("network", [Plain, Bilateral])
@pytest.mark.parametrize("name", WEIGHS)
def test_the_outer_parameters_are_learnt_and_change_the_step(name: str, network: type[Plain]) -> None:
    ends = []
    for lr in (1e-40, 0.1):
        torch.manual_seed(2)
        goal = objective(WEIGHS[name](STATS), network)
        update = train(goal, lr)
        assert isinstance(update, Bilevel) and update.steps == 3
        assert all(p.grad is None for p in update.learnt)  # the real step leaves no gradient behind
        ends.append(goal.state_dict())
    moved = {key for key in ends[0] if not torch.equal(ends[0][key], ends[1][key])}
    assert "network.head.weight" in moved
    assert any("weighs" in key for key in moved)


def test_the_rate_of_a_class_that_the_meta_stream_lacks_falls() -> None:
    """Steps on class 0 do not lower the loss of a meta batch without it, so its images are drawn less and less."""
    sampler = MetaSampler(stats=STATS)
    goal = objective(RateRatio(sampler=sampler))
    before = sampler.log_rates().detach()
    update = Bilevel(lr=0.05, outer=[sampler.logits])
    optimizer = torch.optim.SGD(goal.network.parameters(), 0.1)
    for _ in range(20):
        update(goal, optimizer, STREAMS | {"meta": batch([1, 2, 3])})
    change = sampler.log_rates().detach() - before
    assert change[0] < -0.1 and (change[1:4] > change[0]).all()


def test_the_buffers_for_the_meta_batch_are_copied_by_one_kernel() -> None:
    buffers = {"mean": torch.tensor([1.0, -0.0, torch.inf]), "steps": torch.tensor(3), "seen": torch.tensor([True, False])}
    with Count() as count:
        copies = _copies(buffers)
    assert count.calls == len(buffers) + 1, "an allocation for each, and one copy"
    assert copies.keys() == buffers.keys() and _copies({}) == {}
    for name, buffer in buffers.items():
        assert torch.equal(copies[name], buffer) and copies[name].dtype == buffer.dtype
        assert copies[name].data_ptr() != buffer.data_ptr()


def test_frozen_parameters_take_no_virtual_step() -> None:
    goal = objective(WEIGHS["rate_ratio"](STATS))
    for name, parameter in goal.network.named_parameters():
        parameter.requires_grad_("head" in name)
    (sampler,) = (module for module in goal.modules() if isinstance(module, MetaSampler))

    def gradient(virtual: str) -> Tensor:
        torch.manual_seed(1)
        values, _, prepared = goal(STREAMS)
        bilevel = Bilevel(virtual=[virtual], outer=[sampler.logits])
        return bilevel.outer_gradient(goal, values["total"], prepared["meta"], dict.fromkeys(goal.network.parameters(), 0.1))

    assert torch.equal(gradient("*"), gradient("*head*")) and gradient("*").any()
    with pytest.raises(ConfigError, match="virtual must match a trained parameter"):
        gradient("backbone*")


def test_balances_marks_the_parts_that_counter_the_prior() -> None:
    assert MetaWeightNet.balances and not MetaSampler.balances and not RateRatio.balances


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MetaWeightNet(0), "hidden must"),
        (lambda: MetaSampler(-1.0, stats=STATS), "initial_power must"),
        (lambda: Bilevel(lr=0.0, outer=[]), "lr must"),
        (lambda: Bilevel(weight_decay=-1.0, outer=[]), "weight_decay must"),
        (lambda: RateRatio(sampler=Instance()), "RateRatio needs MetaSampler"),
    ],
)
def test_a_senseless_value_is_refused_by_name(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}"):
        make()
