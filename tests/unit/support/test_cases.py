"""What tests are made of is what they say it is: the small set, options put together without Hydra."""

from __future__ import annotations

from pathlib import Path

import torch

from tests.support.cases import COUNTS, accuracies, assembled, bound, composed, digits, small, trainer
from tests.support.training import N


def test_the_small_set_is_what_the_tests_say_it_is() -> None:
    train, test = digits()
    assert torch.equal(torch.bincount(train.targets.primary), COUNTS) and len(test) == 30
    assert len(train.images.flatten(1).unique(dim=0)) == N, "no image twice"
    network = trainer(bound(small(composed(), epochs=1)), Path("/nowhere")).network()
    assert set(accuracies(network)) == {"test", "val"}


def test_putting_options_together_by_hand_is_what_hydra_does() -> None:
    """The contracts' products of options are made without Hydra, in a thousandth of the time."""
    picked = {"margin": "ldam", "classifier": "cosine", "decoupling": "lws", "reweighting": "drw", "posthoc": "tau_norm"}
    by_hand, by_hydra = assembled(picked), composed(*(f"{slot}={option}" for slot, option in picked.items()))
    assert by_hand == by_hydra
    several, choices = assembled({"augmentation": ["cmo", "mixup"]})
    by_hydra = composed("augmentation=[cmo,mixup]")
    assert several == by_hydra[0] and choices == by_hydra[1]
    assert list(several["augmentation"]["mixers"]) == list(by_hydra[0]["augmentation"]["mixers"]) == ["cmo", "mixup"]
