"""Accumulation: gradients of a whole batch from parts, one part's activations in memory, statistics and draws that repeat."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar
from weakref import WeakSet

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import Function

from ltrun.data import Resident
from ltrun.engine.accumulation import InParts, check
from ltrun.engine.distributed import ALONE, Ranks
from ltrun.engine.gathering import shares
from ltrun.errors import ConfigError
from ltrun.parts import Network
from ltrun.targets import one_label
from ltrun.types import Batch, Clock, Labels, Outputs
from tests.support.cases import bound, composed, digits, settings, small, snapshot, trainer
from tests.support.on_ranks import checks_of, verdicts
from tests.support.ranks import Doubled, doubled, narrow_augments

PRESETS = ("erm", "ldam_drw", "paco", "sade", "meta_weight_net")
ROWS = 22


def stepped(preset: str, folder: Path, parts: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Returns the gradients of a step of 32 rows in float64, and the state after it. Normalisation uses running statistics."""
    targets = digits()[0].targets  # outside: the small set is made once, for all tests
    with doubled():
        store = Resident(digits()[0].images, Labels(one_label(targets).index, one_label(targets).weight.double()))
        recipe = bound(small(composed(f"method={preset}"), 1))
        made = trainer(recipe, folder, accumulate=parts, prepare=Doubled(recipe), train_set=store)
        network = made.network()
        running = made.begin(network, recipe.stages[0], 0)
        narrow_augments(running)
        clock = Clock(recipe.stages[0].name, 0, 10)
        rows, _ = running._begin(clock)
        for module in network.modules():
            if isinstance(module, nn.modules.batchnorm._NormBase):
                module.eval()
        running.step.take({name: next(running._batches(name, [plan[:32]], clock)) for name, plan in rows.items()})
        gradients = {name: p.grad for name, p in running.named_parameters() if p.grad is not None}
        return gradients, snapshot(running)


@pytest.mark.parametrize("preset", PRESETS)
def test_gradients_and_states_are_those_of_the_whole_batch(preset: str, tmp_path: Path) -> None:
    """Also of queues, counters and learnt weights, for losses over pairs of rows and for second derivatives."""
    whole, parts = (stepped(preset, tmp_path / str(count), count) for count in (1, 5))
    for expected, found in zip(whole, parts, strict=True):
        assert expected.keys() == found.keys()
        for name, tensor in expected.items():
            torch.testing.assert_close(found[name], tensor, rtol=1e-10, atol=1e-10, msg=name)


# ------------------------------------------------------------------------------------------------------- one network


class Kept(Function):
    """Multiplies rows by a weight; counts how many of its inputs are in memory for the backward pass."""

    alive: ClassVar[WeakSet[Tensor]] = WeakSet()
    most: ClassVar[int] = 0

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor) -> Tensor:
        kept = inputs.clone()
        Kept.alive.add(kept)
        ctx.save_for_backward(kept, weight)
        return inputs * weight

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        Kept.most = max(Kept.most, len(Kept.alive))
        kept, weight = ctx.saved_tensors
        Kept.most = max(Kept.most, len(Kept.alive))
        return gradient * weight, (gradient * kept).sum(0)


class Tiny(Network):
    """Dropout, a weight, and batch normalisation: (B, 3) -> (B, 3)."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))
        self.drop, self.norm = nn.Dropout(0.5), nn.BatchNorm1d(3)

    def encode(self, inputs: Tensor) -> Tensor:
        return self.norm(Kept.apply(self.drop(inputs), self.weight))

    def decide(self, features: Tensor) -> Outputs:
        return Outputs(logits=features)


def batch(rows: int = ROWS) -> Batch:
    return Batch(torch.randn(rows, 3) + 2, Labels.hard(torch.zeros(rows, dtype=torch.long)), torch.arange(rows))


def test_draws_repeat_and_statistics_move_once_for_each_part() -> None:
    """The same as passing the parts one by one; the statistics then move by each part in turn."""
    torch.manual_seed(0)
    one, other, streams = Tiny(), Tiny(), {"main": batch()}
    torch.manual_seed(1)
    expected = torch.cat([one.predict(streams["main"].inputs[rows]).need("logits") for rows in shares(ROWS, 4)])
    after = torch.get_rng_state()
    torch.manual_seed(1)
    found = InParts(other, 6)(streams, ["main"])["main"].need("logits")
    assert torch.equal(found, expected) and torch.equal(torch.get_rng_state(), after)
    for logits in (expected, found):
        (logits * torch.arange(ROWS * 3).view(ROWS, 3)).square().sum().backward()
    torch.testing.assert_close(other.weight.grad, one.weight.grad)
    assert torch.equal(torch.get_rng_state(), after), "the backward pass moves no generator"
    for name, buffer in one.named_buffers():
        assert torch.equal(dict(other.named_buffers())[name], buffer), name
    assert int(other.norm.num_batches_tracked) == 4  # type: ignore[arg-type]


def test_activations_of_one_part_alone_are_in_memory() -> None:
    for rows, most in ((ROWS, 1), (3, 1)):
        Kept.most, network = 0, Tiny()
        found = InParts(network, rows)({"main": batch()}, ["main"])["main"].need("logits")
        assert len(Kept.alive) == (1 if rows == ROWS else 0), "the first pass in parts keeps none"
        found.square().sum().backward()
        assert Kept.most == most
        del found
        Kept.alive.clear()


@pytest.mark.parametrize(("rows", "parts"), [(22, 4), (23, 4), (7, 2), (3, 1), (1, 1), (6, 1)])
def test_a_last_batch_passes_in_fewer_parts_of_two_rows_at_least(rows: int, parts: int) -> None:
    network = Tiny()
    sizes: list[int] = []
    network.drop.register_forward_hook(lambda module, inputs, output: sizes.append(len(inputs[0])))
    network.eval()
    InParts(network, 6)({"main": batch(rows)}, ["main"])
    assert len(sizes) == parts and sum(sizes) == rows and max(sizes) - min(sizes) <= 1 and (min(sizes) > 1 or rows == 1)


# -------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("changes", "world", "said"),
    [
        ({"batch_size": 32, "accumulate": 17}, 1, "runtime.accumulate: 32 images cannot pass in 17 parts .* use at most 16"),
        ({"batch_size": 32, "accumulate": 9}, 2, "16 images on each of 2 ranks cannot pass in 9 parts .* use at most 8"),
        ({"accumulate": 2, "compile": True}, 1, r"runtime\.compile: steps in parts run eagerly"),
        ({"accumulate": 2, "sync_bn": True}, 2, r"runtime\.sync_bn: .* needs all its images at once"),
    ],
)
def test_what_parts_cannot_do_is_refused(changes: dict[str, Any], world: int, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check(settings(**changes), Ranks(0, world))


def test_what_parts_can_do_is_not_refused() -> None:
    for changes, world in (({"batch_size": 32, "accumulate": 16}, 1), ({"batch_size": 32, "accumulate": 8}, 2), ({}, 4)):
        check(settings(**changes), Ranks(0, world))


# ---------------------------------------------------------------------------------------------------- on two ranks


def check_parts_of_shares_have_the_gradient_of_the_whole_batch(ranks: Ranks) -> None:
    whole, shared = (Tiny().eval() for _ in range(2))
    streams = {"main": batch(23)}
    for network, passes, members in ((whole, whole, ALONE), (shared, InParts(shared, 3), ranks)):
        logits = members.forward(passes, streams, ["main"])["main"].need("logits")
        members.averaging((logits @ logits.T).softmax(1).square().sum(), network).backward()
    torch.testing.assert_close(shared.weight.grad, whole.weight.grad)


def check_ranks_agree_on_averaged_weights_and_statistics(ranks: Ranks) -> None:
    """With runtime.ema, too: the statistics of a rank's own images differ until they are averaged."""
    with TemporaryDirectory() as folder:
        recipe = bound(small(composed("method=crt"), 2))
        trainer(recipe, Path(folder), ranks=ranks, ema=0.9, accumulate=2).run()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    return verdicts(__name__, 2, tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("name", checks_of(globals()))
def test_on_two_ranks(name: str, found: dict[str, list[str]]) -> None:
    assert found[name] == [""] * 2, "\n".join(found[name])
