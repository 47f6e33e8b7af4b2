"""Batch normalisation without counters: no result changes, and states with and without counters load."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ltrun.engine.checkpoint import Checkpoints
from ltrun.engine.norms import stop_counting
from ltrun.engine.stage import Row
from tests.support.cases import CPU, bound, composed, differing, small, snapshot, trainer
from tests.support.interrupted import Stop

COUNTER = "num_batches_tracked"


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(108, 2), nn.BatchNorm1d(2))


def trained(module: nn.Module) -> dict[str, Tensor]:
    """Returns the state after two batches, without counters."""
    for seed in range(2):
        module(torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(seed)))
    return {name: tensor for name, tensor in snapshot(module).items() if not name.endswith(COUNTER)}


def counters(state: dict[str, Tensor]) -> int:
    return sum(name.endswith(COUNTER) for name in state)


def test_statistics_are_the_same_without_counters() -> None:
    counting, other = network(), network()
    stop_counting(other)
    assert not differing(trained(counting), trained(other))
    assert counters(counting.state_dict()) == 2 and counters(other.state_dict()) == 0


def test_plain_means_and_synchronised_layers_keep_their_counters() -> None:
    module = nn.Sequential(nn.BatchNorm2d(3, momentum=None), nn.SyncBatchNorm(3), nn.BatchNorm2d(3, track_running_stats=False))
    stop_counting(module)
    assert counters(module.state_dict()) == 2


@pytest.mark.parametrize("versioned", [True, False])
def test_states_with_and_without_counters_load(versioned: bool) -> None:
    """A checkpoint holds plain dictionaries, without the versions that torch adds to a state."""
    old, new = network(), network()
    trained(old), trained(new)
    stop_counting(new)
    stop_counting(new)  # as each stage does
    expected = {name: tensor for name, tensor in snapshot(old).items() if not name.endswith(COUNTER)}
    state = old.state_dict()
    new.load_state_dict(state if versioned else dict(state))
    assert counters(dict(state)) == 2, "the state that is read is not changed"
    assert not differing(snapshot(new), expected)
    again = network()
    stop_counting(again)
    trained(again)
    again.load_state_dict(new.state_dict() if versioned else dict(new.state_dict()))
    assert not differing(snapshot(again), expected)


@pytest.mark.parametrize("method", ["crt", "paco"])
def test_a_run_that_was_begun_with_counters_goes_on_to_the_same_bits(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twins of a network have counters too, and so has the best epoch that a checkpoint keeps."""
    recipe = bound(small(composed(f"method={method}"), epochs=4))
    whole = trainer(recipe, tmp_path / "whole", selection="best_val").run()
    rows: list[Row] = []

    def stop(row: Row) -> None:
        rows.append(row)
        if len(rows) == 4:
            raise Stop

    with monkeypatch.context() as before, pytest.raises(Stop):
        before.setattr("ltrun.engine.stage.stop_counting", lambda module: None)
        trainer(recipe, tmp_path / "broken", selection="best_val", report=stop).run()
    saved = Checkpoints(tmp_path / "broken").load(CPU, pytest.fail)
    assert saved is not None and counters(saved["module"]) > 0
    found = trainer(recipe, tmp_path / "broken", selection="best_val").run()
    assert not differing(snapshot(found), snapshot(whole)) and counters(found.state_dict()) == 0
