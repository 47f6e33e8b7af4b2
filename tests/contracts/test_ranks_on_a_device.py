"""Two ranks on an imagined GPU: the bits of two ranks on CPUs, in steps that never wait for the device."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from ltrun.contracts.device import on_device, on_host
from ltrun.contracts.imagined import DEVICE, imagined_cuda
from ltrun.contracts.trial import differing
from ltrun.engine.distributed import Ranks
from ltrun.engine.step import Step, no_waiting
from ltrun.errors import TrainingError
from ltrun.types import Streams
from tests.support.cases import bound, composed, small
from tests.support.on_ranks import checks_of, verdicts

pytestmark = [pytest.mark.slow, pytest.mark.skipif(torch.cuda.is_available(), reason="there is a real CUDA device")]
WORLD = 2


def check_trainings(ranks: Ranks) -> None:
    take = Step.take

    def strict(step: Step, streams: Streams) -> None:
        with no_waiting():
            take(step, streams)

    for preset in ("erm", "paco", "meta_weight_net"):
        recipe = bound(small(composed(f"method={preset}"), epochs=2))
        with tempfile.TemporaryDirectory() as folder:
            with imagined_cuda(), patch.object(Step, "take", strict):
                found = on_device(recipe, Path(folder, "device"), ranks=ranks)
            assert not differing(found, on_host(recipe, Path(folder, "host"), ranks=ranks)), preset


def check_that_ranks_agree_on_states_of_a_device_and_of_the_host(ranks: Ranks) -> None:
    """Optimizers keep some tensors on the host."""
    with imagined_cuda():
        ours = torch.full((3,), 1 + 1e-6 * ranks.rank, device=DEVICE)
        flag = torch.tensor(ranks.rank == 0, device=DEVICE)
        assert refused({"host": torch.ones(()), "ours": ours, "empty": ours[:0]}, ranks) == ""
        assert ours.tolist() == [1, 1, 1], "roundings are those of rank 0"
        assert refused({"ours": ours, "count": torch.tensor(float(ranks.rank))}, ranks) == "'count'"
        assert refused({"ours": ours, "flag": flag}, ranks) == "'flag'"


def check_that_values_that_are_not_finite_hide_no_other(ranks: Ranks) -> None:
    masked = torch.tensor([1, -torch.inf, torch.nan])
    assert refused({"masked": masked}, ranks) == ""
    assert refused({"masked": masked + ranks.rank}, ranks) == "'masked'"
    assert refused({"lost": torch.tensor([1, torch.nan if ranks.rank else 1])}, ranks) == "'lost'"


def refused(state: Mapping[str, Tensor], ranks: Ranks) -> str:
    """Returns the name of the tensor on which the ranks do not agree; "" if they do."""
    try:
        ranks.agree(state)
    except TrainingError as error:
        return str(error).partition(" differs")[0]
    return ""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    return verdicts(__name__, WORLD, tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("name", checks_of(globals()))
def test_on_two_ranks(name: str, found: dict[str, list[str]]) -> None:
    assert found[name] == [""] * WORLD, "\n".join(found[name])
