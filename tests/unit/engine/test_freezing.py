"""Freezing of a ResNet by patterns in the first stage: PaCo trains the last block of layer 4 alone on Places-LT."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.cases import bound, changed, composed, differing, snapshot, trainer

SHORT = ("network=resnet18", "network.stem=cifar")


@pytest.mark.parametrize(
    ("method", "pattern"),
    [("erm", "backbone.layer4.1.*"), ("paco", "network.backbone.layer4.1.*"), ("ride", "branches.*.layer4.1.*")],
)
def test_patterns_of_the_first_stage_leave_all_else_as_it_was(method: str, pattern: str, tmp_path: Path) -> None:
    composition = changed(
        composed(f"method={method}", *SHORT),
        epochs=1,
        stages__train__trainable=[pattern, "*head*"],
        stages__train__norm="hold",
    )
    begun = snapshot(trainer(bound(composition), tmp_path / "a").network())
    made = trainer(bound(composition), tmp_path / "b").run()
    own = {name for name, _ in made.named_parameters() if not any(word in name for word in ("head", "projector"))}
    moved = differing(begun, snapshot(made)) & own
    assert moved == {name for name in own if ".layer4.1." in name}
    assert {name for name, p in made.named_parameters() if p.requires_grad} & own == moved
    statistics = {name for name in differing(begun, snapshot(made)) if "running" in name and "twin" not in name}
    assert statistics == set(), "norm: hold keeps the statistics of pre-training"
