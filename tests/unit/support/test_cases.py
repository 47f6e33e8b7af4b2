"""Shared cases of the tests: the small data set, options assembled without Hydra."""

from __future__ import annotations

from pathlib import Path

import torch

from tests.support.cases import COUNTS, accuracies, assembled, bound, composed, digits, small, trainer
from tests.support.training import N


def test_the_small_set_has_the_stated_counts_and_no_duplicates() -> None:
    train, test = digits()
    assert torch.equal(torch.bincount(train.targets.labels), COUNTS) and len(test) == 30
    assert len(train.images.flatten(1).unique(dim=0)) == N, "no image occurs twice"
    network = trainer(bound(small(composed(), epochs=1)), Path("/nowhere")).network()
    assert set(accuracies(network)) == {"test", "val"}


def test_options_assembled_by_hand_equal_hydras_composition() -> None:
    """The contracts assemble products of options without Hydra, a thousand times faster."""
    picked = {"margin": "ldam", "classifier": "cosine", "decoupling": "lws", "reweighting": "drw", "posthoc": "tau_norm"}
    by_hand, by_hydra = assembled(picked), composed(*(f"{slot}={option}" for slot, option in picked.items()))
    assert by_hand == by_hydra
    several, choices = assembled({"augmentation": ["cmo", "mixup"]})
    by_hydra = composed("augmentation=[cmo,mixup]")
    assert several == by_hydra[0] and choices == by_hydra[1]
    assert list(several["augmentation"]["mixers"]) == list(by_hydra[0]["augmentation"]["mixers"]) == ["cmo", "mixup"]
