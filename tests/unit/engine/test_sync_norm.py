"""Synchronised batch normalisation: the numbers of torch's own on the whole batch."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ltrun.engine.distributed import Ranks
from ltrun.engine.sync_norm import synchronise
from ltrun.network import dar_norm
from ltrun.types import Outputs
from tests.support.on_ranks import checks_of, verdicts

ROWS = 10  # shares of 3, 3 and 4 rows on three ranks
DOUBLE = torch.float64


def pair(norm: nn.Module, ranks: Ranks) -> tuple[nn.Module, nn.Module]:
    """Returns a layer with random weights, and its synchronised copy in a network."""
    for parameter in norm.parameters():
        nn.init.uniform_(parameter, 0.5, 2)
    network = nn.Sequential(deepcopy(norm))
    synchronise(network, ranks)
    return norm, network[0]


def apply(layer: nn.Module, inputs: Tensor, ranks: Ranks) -> Tensor:
    found = ranks.predict(lambda share: Outputs(logits=layer(share)), inputs)
    return found.need("logits")


def compared(norm: nn.Module, shape: tuple[int, ...], ranks: Ranks, dtype: torch.dtype = DOUBLE, **close: Any) -> None:
    """Asserts equal outputs, gradients and running statistics after two steps, and equal outputs in evaluation mode."""
    whole, synced = pair(norm, ranks)
    assert synced.state_dict().keys() == whole.state_dict().keys() and isinstance(synced, type(whole))
    for step in range(2):
        inputs = (torch.randn(shape) * 3 + step).to(dtype)
        ours, theirs = inputs.clone().requires_grad_(), inputs.clone().requires_grad_()
        found, expected = apply(synced, ours, ranks), whole(theirs)
        assert found.dtype == expected.dtype
        torch.testing.assert_close(found, expected, **close)
        ranks.averaging(found.double().pow(3).sum(), synced).backward()
        expected.double().pow(3).sum().backward()
        assert ours.grad is not None and theirs.grad is not None
        rows = ranks.share(len(inputs))
        if ranks.splits(len(inputs)):
            torch.testing.assert_close(ours.grad[rows] / ranks.world, theirs.grad[rows], **close)
        for one, other in zip(synced.parameters(), whole.parameters(), strict=True):
            torch.testing.assert_close(one.grad, other.grad, **close)
    for mine, statistics in zip(synced.buffers(), whole.buffers(), strict=True):
        torch.testing.assert_close(mine, statistics, **close)
    torch.testing.assert_close(apply(synced.eval(), inputs, ranks), whole.eval()(inputs), **close)


def check_layers_of_one_two_and_three_dimensions(ranks: Ranks) -> None:
    compared(nn.BatchNorm1d(4, dtype=DOUBLE), (ROWS, 4), ranks)
    compared(nn.BatchNorm1d(4, momentum=0.3, dtype=DOUBLE), (ROWS, 4, 5), ranks)
    compared(nn.BatchNorm2d(3, eps=1e-2, dtype=DOUBLE), (ROWS, 3, 4, 5), ranks)
    compared(nn.BatchNorm3d(2, dtype=DOUBLE), (ROWS, 2, 2, 3, 2), ranks)


def check_layers_without_weights_statistics_or_momentum(ranks: Ranks) -> None:
    compared(nn.BatchNorm2d(3, affine=False, dtype=DOUBLE), (ROWS, 3, 2, 2), ranks)
    compared(nn.BatchNorm2d(3, momentum=None, dtype=DOUBLE), (ROWS, 3, 2, 2), ranks)  # plain means over batches


def check_a_batch_that_is_not_shared_is_normalised_on_every_rank(ranks: Ranks) -> None:
    compared(nn.BatchNorm1d(4, dtype=DOUBLE), (5, 4), ranks)


def check_bf16_has_statistics_in_float32(ranks: Ranks) -> None:
    """In bf16, sums over these inputs, far from zero, would leave no variance."""
    _, synced = pair(nn.BatchNorm2d(3), ranks)
    inputs = (torch.randn(ROWS, 3, 4, 4) + 100).bfloat16()
    found = apply(synced, inputs, ranks)
    expected = nn.functional.batch_norm(inputs.float(), None, None, synced.weight, synced.bias, True)  # type: ignore[arg-type]
    assert found.dtype is torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=1e-2, atol=1e-2)
    assert isinstance(synced.running_mean, Tensor) and synced.running_mean.dtype is torch.float32


def check_a_copied_layer_speaks_to_the_same_ranks(ranks: Ranks) -> None:
    whole, synced = pair(nn.BatchNorm1d(4, dtype=DOUBLE), ranks)
    inputs = torch.randn(ROWS, 4, dtype=DOUBLE)
    torch.testing.assert_close(apply(deepcopy(synced), inputs, ranks), whole(inputs))


def check_layers_that_normalise_generated_rows_apart(ranks: Ranks) -> None:
    """Equal to the layer on the whole batch; a graph behind its statistics would grow from step to step."""
    whole = nn.Sequential(nn.BatchNorm2d(3, dtype=DOUBLE))
    dar_norm.use(whole)
    synced, rows = deepcopy(whole), ranks.share(ROWS)
    synchronise(synced, ranks)
    for step in range(2):
        inputs, flags = torch.randn(ROWS, 3, 2, 2, dtype=DOUBLE) + step, torch.arange(ROWS) % 3 == 0
        dar_norm.route(whole, flags)
        dar_norm.route(synced, flags[rows])
        torch.testing.assert_close(apply(synced, inputs.requires_grad_(), ranks), whole(inputs))
    for mine, statistics in zip(synced.buffers(), whole.buffers(), strict=True):
        assert not mine.requires_grad
        torch.testing.assert_close(mine, statistics)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    return verdicts(__name__, 3, tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("name", checks_of(globals()))
def test_on_three_ranks(name: str, found: dict[str, list[str]]) -> None:
    assert found[name] == [""] * 3, "\n".join(found[name])


def test_layers_of_other_kinds_stay() -> None:
    network = nn.Sequential(nn.GroupNorm(1, 2), nn.BatchNorm2d(2), nn.Linear(2, 2))
    synchronise(network, Ranks(0, 2))
    assert [type(layer) for layer in network][::2] == [nn.GroupNorm, nn.Linear]
    assert type(network[1]) is not nn.BatchNorm2d
