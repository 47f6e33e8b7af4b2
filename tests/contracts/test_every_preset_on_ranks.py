"""Every preset on several ranks: the same state on each rank, and with runtime.sync_bn the numbers of one process."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from ltrun.metrics import MULTI_LABEL
from tests.support.cases import METHODS, presets_of
from tests.support.ranks import Findings, findings
from tests.support.walks import drawn

pytestmark = pytest.mark.slow
CLOSE = 1e-6  # float64 leaves 1e-12 at most


def faults(preset: str, found: Findings) -> list[str]:
    """Returns what is wrong with a preset on a rank."""
    if found.error:
        return [f"{preset}: {found.error}"]
    wrong = [f"{preset}: {name} differs between ranks after an epoch" for name in found.apart]
    assert len(found.losses) == len(found.alone) > 0
    for epoch, (together, alone) in enumerate(zip(found.losses, found.alone, strict=True), 1):
        assert together.keys() == alone.keys()
        wrong += [
            f"{preset}: the loss '{name}' of epoch {epoch} is {together[name]} on ranks, and {alone[name]} in one process"
            for name in alone
            if abs(together[name] - alone[name]) > CLOSE * max(1, abs(alone[name]))
        ]
    if found.distance > CLOSE:
        wrong.append(f"{preset}: the trained state is {found.distance} away from one process")
    return wrong


def faults_of(presets: Iterable[str], ranks: list[dict[str, Findings]]) -> list[str]:
    return [fault for found in ranks for preset in presets for fault in faults(preset, found[preset])]


def test_every_preset_on_two_ranks(tmp_path: Path) -> None:
    """The last batch of an epoch has 6 rows, three for each rank."""
    sizes = dict.fromkeys([*drawn(METHODS, 10), *drawn(presets_of(MULTI_LABEL, 4), 5)], 32)
    assert faults_of(sizes, findings(sizes, 2, tmp_path)) == []


UNEQUAL = dict.fromkeys(["crt", "ldam_drw", "meta_weight_net", "paco", "sade"], 20)
UNSHARED = dict.fromkeys(["erm", "mixup"], 32)


@pytest.fixture(scope="module")
def on_four(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Findings]]:
    """Findings of one start of four ranks, for the tests below."""
    return findings(UNEQUAL | UNSHARED, 4, tmp_path_factory.mktemp("ranks"))


def test_a_few_presets_on_four_ranks_of_unequal_shares(on_four: list[dict[str, Findings]]) -> None:
    """The last batch has 10 rows: 2, 3, 2 and 3. The stage of crt that samples classes equally has batches of 20 and 18."""
    assert faults_of(UNEQUAL, on_four) == []


def test_a_last_batch_too_small_to_share_passes_whole_through_every_rank(on_four: list[dict[str, Findings]]) -> None:
    """Six rows on four ranks."""
    assert faults_of(UNSHARED, on_four) == []
