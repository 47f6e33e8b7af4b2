"""Ranks: shares of a batch, messages with gradients, agreement on the state, and what rank 0 does for all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ltrun.classifier import Linear
from ltrun.config.bind import Bound
from ltrun.data import VideoLT
from ltrun.data.crop import Draws, RandomCrop, drawn
from ltrun.data.frames import RandomFrames
from ltrun.data.stores import Decodes, Store
from ltrun.engine.distributed import ALONE, Ranks
from ltrun.engine.predictors import evaluated
from ltrun.errors import BusyError, ConfigError, TrainingError
from ltrun.network import Plain, ResNetCIFAR
from ltrun.parts import Sampler
from ltrun.types import Batch, Clock, Labels, Outputs
from tests.support.cases import bound, composed, context, digits, small, trainer
from tests.support.on_ranks import checks_of, verdicts
from tests.support.videos import make_videos

ROWS = 10  # shares of 3, 3 and 4 rows on three ranks
DOUBLE = torch.float64


@pytest.mark.parametrize("world", [1, 2, 3, 4, 7, 8])
@pytest.mark.parametrize("rows", [1, 2, 3, 5, 8, 15, 16, 17, 128, 409])
def test_shares_hold_every_row_once_and_two_rows_at_least(rows: int, world: int) -> None:
    ranks = [Ranks(rank, world) for rank in range(world)]
    shares = [one.mine(torch.arange(rows)).tolist() for one in ranks]
    if ranks[0].splits(rows):
        assert [row for share in shares for row in share] == list(range(rows))
        lengths = [len(share) for share in shares]
        assert max(lengths) - min(lengths) <= 1 and min(lengths) >= 2
    else:
        assert shares == [list(range(rows))] * world
        assert world == 1 or rows < 2 * world


@pytest.mark.parametrize(
    ("size", "world", "told"),
    [
        (33, 2, "use 32 or 34, or another"),
        (2, 2, "equal shares of at least 2; use 4, or another"),
        (130, 4, "batch_size: 130 is the number of images of all 4 ranks together"),
        (7, 4, "use 8, or another"),
    ],
)
def test_a_batch_without_equal_shares_is_refused(size: int, world: int, told: str) -> None:
    with pytest.raises(ConfigError, match=r"^batch_size: ") as refusal:
        Ranks(0, world).check(size)
    assert told in str(refusal.value)


def test_equal_shares_and_one_process_are_not_refused() -> None:
    for size, world in ((32, 2), (4, 2), (33, 1), (1, 1), (126, 7)):
        Ranks(0, world).check(size)
    ALONE.check(128, compile=True)
    with pytest.raises(ConfigError, match=r"^runtime\.compile: .*; leave compile=true out$"):
        Ranks(0, 2).check(128, compile=True)


def test_one_process_sends_no_message() -> None:
    """No group of processes exists here, so that a message would raise."""
    tensor = torch.ones(4)
    assert ALONE.gather([tensor], 4)[0] is tensor and ALONE.mean([tensor])[0] is tensor
    assert ALONE.averaging(tensor, nn.Linear(1, 1)) is tensor
    ALONE.agree({"a": tensor})
    ALONE.average([tensor])
    assert ALONE.from_first(lambda: 3) == 3


# ------------------------------------------------------------------------------------------------ on three ranks


def raised(kind: type[Exception], work: Callable[[], object]) -> str:
    with pytest.raises(kind) as caught:
        work()
    assert type(caught.value) is kind
    return str(caught.value)


def check_gathered_batches_have_the_rows_types_and_shapes_of_one_process(ranks: Ranks) -> None:
    whole = [
        torch.randn(ROWS, 4), torch.randn(ROWS, 2, 3).bfloat16(), torch.randint(9, (ROWS,)), torch.rand(ROWS, 1) > 0.5,
        torch.randn(ROWS, dtype=DOUBLE), torch.randint(255, (ROWS, 1, 2, 2), dtype=torch.uint8),
    ]  # fmt: skip
    found = ranks.gather([ranks.mine(tensor).clone() for tensor in whole], ROWS)
    for expected, tensor in zip(whole, found, strict=True):
        assert tensor.dtype == expected.dtype and torch.equal(tensor, expected)
    assert not any(tensor.requires_grad for tensor in found)


def check_derivatives_through_gathered_rows_are_those_of_one_process(ranks: Ranks) -> None:
    """Also the derivative of a gradient by a parameter of the loss, which a bilevel step needs."""
    inputs, weight = torch.randn(ROWS, 3, dtype=DOUBLE), torch.randn(3, dtype=DOUBLE, requires_grad=True)
    outer = torch.rand(ROWS, dtype=DOUBLE, requires_grad=True)

    def derivatives(outputs: Tensor, mean: Callable[[Sequence[Tensor]], tuple[Tensor, ...]]) -> list[Tensor]:
        loss = (outer * outputs.softmax(0) * outputs.pow(3)).sum() + weight.square().sum()  # each row acts on all gradients
        (slope,) = torch.autograd.grad(loss, weight, create_graph=True)
        (pull,) = mean([slope])
        (mixed,) = mean(torch.autograd.grad((slope * pull.detach()).sum(), outer))
        return [pull.detach(), mixed]

    (gathered,) = ranks.gather([ranks.mine(inputs) @ weight], ROWS)
    for found, expected in zip(derivatives(gathered, ranks.mean), derivatives(inputs @ weight, tuple), strict=True):
        torch.testing.assert_close(found, expected)


def check_every_backward_pass_averages_gradients_as_a_step_with_two_passes_needs(ranks: Ranks) -> None:
    inputs, layer = torch.randn(ROWS, 3, dtype=DOUBLE), nn.Linear(3, 1, dtype=DOUBLE)
    alone = deepcopy(layer)
    for step in range(2):  # the second pass starts from other weights, as in sharpness-aware minimisation
        (outputs,) = ranks.gather([layer(ranks.mine(inputs))], ROWS)
        ranks.averaging(outputs.logsumexp(0).sum(), layer).backward()
        alone(inputs).logsumexp(0).sum().backward()
        for one, other in zip(layer.parameters(), alone.parameters(), strict=True):
            assert one.grad is not None and other.grad is not None
            torch.testing.assert_close(one.grad, other.grad)
            if not step:
                for parameter in (one, other):
                    parameter.data += 0.1 * other.grad
                    parameter.grad = None


def check_agreement_gives_the_values_of_rank_0_and_names_a_tensor_that_differs(ranks: Ranks) -> None:
    rounded = torch.tensor([1.0, 2.0]) * (1 + 1e-6 * ranks.rank)
    counter = torch.tensor(7)
    ranks.agree({"a": rounded, "b": counter})
    assert rounded.tolist() == [1, 2] and counter.item() == 7
    for other in (torch.tensor(float(ranks.rank)), torch.tensor([1.0, 2.0] if ranks.rank else [2.0, 1.0])):
        told = raised(TrainingError, lambda other=other: ranks.agree({"same": torch.ones(3), "part.calls": other}))  # type: ignore[misc]
        assert told.startswith("'part.calls' differs between ranks 0 and 1: ")


def check_an_error_of_rank_0_is_raised_on_every_rank(ranks: Ranks) -> None:
    def refused() -> None:
        raise BusyError("another process is training it")

    def failed() -> None:
        raise ZeroDivisionError("by zero")

    assert ranks.from_first(lambda: {"rank": ranks.rank, "tensor": torch.ones(2)})["rank"] == 0
    assert raised(BusyError, lambda: ranks.from_first(refused)) == "another process is training it"
    if ranks.first:
        raised(ZeroDivisionError, lambda: ranks.from_first(failed))
    else:
        assert raised(TrainingError, lambda: ranks.from_first(failed)) == "ZeroDivisionError on rank 0: by zero"


class Noisy(nn.Module):
    """A network whose logits are random numbers, or its inputs."""

    def __init__(self, draws: bool) -> None:
        super().__init__()
        self.draws = draws

    def forward(self, streams: dict[str, Batch], need: Sequence[str]) -> dict[str, Outputs]:
        inputs = streams["main"].inputs
        return {"main": Outputs(logits=torch.rand(len(inputs), 2) if self.draws else inputs)}


def check_random_numbers_of_a_network_differ_by_rank_and_step_and_move_all_generators_alike(ranks: Ranks) -> None:
    batch = Batch(torch.zeros(ROWS, 2), Labels.hard(torch.zeros(ROWS, dtype=torch.long)), torch.arange(ROWS))
    before = torch.get_rng_state()
    ranks.forward(Noisy(False), {"main": batch}, ["main"])
    assert torch.equal(torch.get_rng_state(), before)
    drawn = [ranks.forward(Noisy(True), {"main": batch}, ["main"])["main"].need("logits") for _ in range(2)]
    assert len(torch.cat(drawn).unique()) == 4 * ROWS
    states = [torch.empty_like(before) for _ in range(ranks.world)]
    torch.distributed.all_gather(states, torch.get_rng_state())
    assert all(torch.equal(state, states[0]) for state in states)


def check_evaluation_counts_every_image_once_for_any_size(ranks: Ranks) -> None:
    torch.manual_seed(1)
    network = Plain(
        backbone=ResNetCIFAR(8, 4, in_channels=1), make_head=lambda features: Linear(features=features, num_classes=10)
    ).eval()
    for size in (30, 7, 5, 11):  # the last batches have 30, 2, 5 and 8 of 30 images
        found = {}
        for one in (ranks, ALONE):
            pairs = list(evaluated(network, context(ranks=one, evaluation_batch=size), "test", {"logits"}))
            found[one] = torch.cat([outputs.need("logits") for outputs, _ in pairs])
            assert torch.cat([targets.labels for _, targets in pairs]).tolist() == digits()[1].targets.labels.tolist()
        torch.testing.assert_close(found[ranks], found[ALONE])


def check_frames_of_videos_are_the_same_however_many_ranks_read_them(ranks: Ranks) -> None:
    plan = [torch.tensor([0, 5, 0, 7]), torch.tensor([3, 1])]
    with TemporaryDirectory() as folder:
        store = VideoLT(str(make_videos(Path(folder, "videos"))), frames=9).open(torch.device("cpu")).train
        for cuts in (None, drawn(RandomFrames(10), 5, plan)):
            pairs = zip(ranks.open(store, plan, cuts=cuts), ALONE.open(store, plan, cuts=cuts), strict=True)
            for own, alone in pairs:
                assert all(torch.equal(*pair) for pair in zip(own.tensors(), alone.tensors(), strict=True))


def check_a_streamed_store_decodes_every_image_on_one_rank(ranks: Ranks) -> None:
    class Streamed:
        """The small set as a store that decodes files, and counts them."""

        decodes: Decodes = "photographs"
        count = 0
        targets, files = digits()[0].targets, digits()[0].files

        def open(self, rows: Sequence[Tensor], late: bool = False, cuts: Sequence[Draws[Any]] | None = None) -> Iterator[Batch]:
            assert cuts and [draws.keys.tolist() for draws in cuts] == [some.tolist() for some in rows]
            self.count += sum(map(len, rows))
            return digits()[0].open(rows)

        def __len__(self) -> int:
            return len(self.targets)

    store: Store = Streamed()
    plan = [torch.arange(10, 20), torch.arange(5), torch.tensor([3, 3, 60, 1, 0, 2, 7])]
    cuts = [Draws(RandomCrop(8), rows.numpy().astype(np.uint64)) for rows in plan]
    for found, expected in zip(ranks.open(store, plan, cuts=cuts), digits()[0].open(plan), strict=True):
        assert torch.equal(found.inputs, expected.inputs) and torch.equal(found.rows, expected.rows)
        assert torch.equal(found.targets.labels, expected.targets.labels)
    counts = [torch.empty(1) for _ in range(ranks.world)]
    torch.distributed.all_gather(counts, torch.tensor([float(store.count)]))  # type: ignore[attr-defined]
    assert sum(map(float, counts)) == 10 + 3 * 5 + 7  # five rows cannot be shared by three ranks


def check_a_lost_message_is_told_by_the_ranks(ranks: Ranks) -> None:
    def lost(error: Exception) -> None:
        raise ConfigError(f"told: {error}")

    told = replace(ranks, lost=lost)  # type: ignore[arg-type]

    def failing() -> None:
        with told.spoken():
            raise RuntimeError("connection closed")

    assert raised(ConfigError, failing) == "told: connection closed"


def check_random_numbers_that_differ_by_rank_are_named_by_the_loss_of_an_epoch(ranks: Ranks) -> None:
    """They change the labels that a rank sees, and no state of a part."""
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as folder:
        patch.setattr("ltrun.augmentation.mixup.draw_share", lambda alpha: torch.tensor(0.9 - 0.4 * ranks.rank))
        made = trainer(bound(small(composed("method=mixup"), 1)), Path(folder), ranks=ranks)
        told = raised(TrainingError, made.run)
    assert told.startswith("'the loss classification' differs between ranks 0 and 1: ")


def check_a_checkpoint_that_rank_0_cannot_write_ends_every_rank_with_its_sentence(ranks: Ranks) -> None:
    def full(row: object) -> None:
        assert ranks.first
        raise TrainingError("the disk is full")

    with TemporaryDirectory() as folder:
        made = trainer(bound(small(composed("method=erm"), 1)), Path(folder), report=full, ranks=ranks)
        assert raised(TrainingError, made.run) == "the disk is full"


class Stateful(Sampler):
    """Draws by torch's default generator, and counts its draws."""

    draws: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("draws", torch.zeros(()))

    def draw(self, targets: Labels, clock: Clock, generator: torch.Generator) -> Tensor:
        self.draws += 1
        return torch.randperm(len(targets))


def check_a_sampler_with_state_and_the_default_generator_draws_alike_on_all_ranks(ranks: Ranks) -> None:
    with TemporaryDirectory() as folder:
        recipe = bound(small(composed("method=mixup"), 2))
        recipe.stages[0].streams["main"] = replace(recipe.stages[0].streams["main"], sampler=Bound(Stateful, {}, ""))
        trainer(recipe, Path(folder), ranks=ranks).run()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    return verdicts(__name__, 3, tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("name", checks_of(globals()))
def test_on_three_ranks(name: str, found: dict[str, list[str]]) -> None:
    assert found[name] == [""] * 3, "\n".join(found[name])
