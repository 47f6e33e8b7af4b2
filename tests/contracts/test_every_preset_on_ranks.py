"""Every preset on several ranks: the same state on each rank, and with runtime.sync_bn the numbers of one process."""

from __future__ import annotations

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


def test_every_preset_on_two_ranks(tmp_path: Path) -> None:
    """The last batch of an epoch has 6 rows, three for each rank."""
    presets = dict.fromkeys([*drawn(METHODS, 10), *drawn(presets_of(MULTI_LABEL, 4), 5)])
    ranks = findings([*presets], 2, 32, tmp_path)
    assert [fault for rank in ranks for preset, found in rank.items() for fault in faults(preset, found)] == []


def test_a_few_presets_on_four_ranks_of_unequal_shares(tmp_path: Path) -> None:
    """The last batch has 10 rows: 2, 3, 2 and 3. The stage of crt that samples classes equally has batches of 20 and 18."""
    ranks = findings(["crt", "ldam_drw", "meta_weight_net", "paco", "sade"], 4, 20, tmp_path)
    assert [fault for rank in ranks for preset, found in rank.items() for fault in faults(preset, found)] == []


def test_a_last_batch_too_small_to_share_passes_whole_through_every_rank(tmp_path: Path) -> None:
    """Six rows on four ranks."""
    ranks = findings(["erm", "mixup"], 4, 32, tmp_path)
    assert [fault for rank in ranks for preset, found in rank.items() for fault in faults(preset, found)] == []
