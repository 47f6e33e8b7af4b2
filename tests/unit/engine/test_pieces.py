"""Passage through a network in pieces: the same numbers as in one pass, whatever acts between them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ltrun.engine.pieces import Stretch, places_of
from ltrun.errors import ConfigError, TrainingError
from ltrun.parts import FeatureMixer
from ltrun.targets import one_label
from ltrun.types import Batch, Clock, Labels, Streams
from tests.support.cases import changed, composed, differing, small, snapshot, trainer
from tests.support.training import mine, node

LAYERS = ["inputs", "layer1", "layer2", "layer3", "features"]


class Watcher(FeatureMixer):
    """Changes nothing, and remembers the shapes that it saw; adds a loss of a given value at its last point."""

    def __init__(self, points: Sequence[str], loss: float = 0.0):
        super().__init__()
        self.points, self.loss = points, loss
        self.seen: list[tuple[str, tuple[int, ...]]] = []

    def forward(self, streams: Streams, point: str) -> tuple[dict[str, Batch], dict[str, Tensor]]:
        maps = streams["main"].inputs
        self.seen.append((point, tuple(maps.shape)))
        losses = {"extra": maps.new_tensor(self.loss)} if self.loss and point == self.points[-1] else {}
        return dict(streams), losses


class Doubler(FeatureMixer):
    """Repeats each row with the next class as its label."""

    points = ("features",)

    def forward(self, streams: Streams, point: str) -> tuple[dict[str, Batch], dict[str, Tensor]]:
        batch = streams["main"]
        other = Labels.hard((batch.targets.labels + 1) % 3)
        own = one_label(batch.targets)
        targets = Labels(torch.cat([own.index, other.index]), torch.cat([own.weight, other.weight]))
        twice = {"inputs": batch.inputs.repeat(2, 1), "rows": batch.rows.repeat(2), "targets": targets}
        return {"main": batch.replace(**twice)}, {}


class Ragged(FeatureMixer):
    """Drops a map and keeps its label."""

    points = ("layer1",)

    def forward(self, streams: Streams, point: str) -> tuple[dict[str, Batch], dict[str, Tensor]]:
        batch = streams["main"]
        return {"main": batch.replace(inputs=batch.inputs[1:])}, {}


def with_mixer(mixer: dict[str, Any], *words: str, **changes: Any) -> Any:
    composition = small(composed(*words), epochs=1)
    return mine(changed(composition, augmentation__feature_mixers={"mine": mixer}, **changes))


@pytest.mark.parametrize("points", [LAYERS, ["features"], ["layer2"], ["inputs"]])
def test_a_mixer_that_changes_nothing_changes_no_bit(points: list[str], tmp_path: Path) -> None:
    plain = trainer(mine(small(composed(), epochs=1)), tmp_path / "plain")
    watched = trainer(with_mixer(node(Watcher, points=points)), tmp_path / "watched")
    assert differing(snapshot(plain.run()), snapshot(watched.run())) == set()


def test_experts_are_mixed_at_their_features(tmp_path: Path) -> None:
    """Rows stand in front there. The block at which the trunk ends is a place, a layer inside a branch is none."""
    recipe = with_mixer(node(Watcher, points=["layer1", "features"]), "ensemble=ride", "classifier=cosine")
    made = trainer(recipe, tmp_path)
    running = made.begin(made.network(), recipe.stages[0], 0)
    running.epoch(Clock("train", 0, 1))
    watcher = running.objective.feature_mixers["mine"]
    assert isinstance(watcher, Watcher)
    (first, maps), (second, features), *_ = watcher.seen
    assert (first, second) == ("layer1", "features") and len(maps) == 4
    assert features[:2] == (maps[0], 3) and len(features) == 3
    with pytest.raises(ConfigError, match="acts at layer2, which lies inside the branches of ensemble=ride; drop one of them"):
        with_mixer(node(Watcher, points=["layer2"]), "ensemble=ride", "classifier=cosine")
    misspelt = with_mixer(node(Watcher, points=["layer4"]))
    made = trainer(misspelt, tmp_path)
    with pytest.raises(ConfigError, match="acts at 'layer4', a place that this network does not have"):
        made.begin(made.network(), misspelt.stages[0], 0)


def test_a_further_loss_is_part_of_the_total(tmp_path: Path) -> None:
    for loss in (0.0, 2.5):
        recipe = with_mixer(node(Watcher, points=["layer1", "layer3"], loss=loss))
        row = trainer(recipe, tmp_path / str(loss))
        running = row.begin(row.network(), recipe.stages[0], 0)
        found = running.epoch(Clock("train", 0, 1))
        assert found["loss"] - found["losses"]["classification"] == pytest.approx(loss)


def test_the_number_of_rows_may_change(tmp_path: Path) -> None:
    recipe = with_mixer(node(Doubler))
    made = trainer(recipe, tmp_path)
    running = made.begin(made.network(), recipe.stages[0], 0)
    row = running.epoch(Clock("train", 0, 1))
    assert torch.isfinite(torch.tensor(row["loss"]))


def test_maps_without_labels_are_refused(tmp_path: Path) -> None:
    recipe = with_mixer(node(Ragged))
    made = trainer(recipe, tmp_path)
    running = made.begin(made.network(), recipe.stages[0], 0)
    with pytest.raises(TrainingError, match=r"Ragged returns \d+ inputs and \d+ labels for stream 'main' at 'layer1'"):
        running.epoch(Clock("train", 0, 1))


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        (("ensemble=bbn",), {}),
        (("representation=paco",), {}),
        (("reweighting=meta_weight_net",), {}),
    ],
)
def test_networks_and_updates_with_ways_of_their_own_refuse_feature_mixers(
    words: tuple[str, ...], changes: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match="drop one of them"):
        with_mixer(node(Watcher, points=["features"]), *words, **changes)


@pytest.mark.parametrize("words", [(), ("ensemble=ride", "classifier=cosine")])
def test_stretches_join_to_the_whole_pass(words: tuple[str, ...], tmp_path: Path) -> None:
    recipe = mine(small(composed(*words)))
    made = trainer(recipe, tmp_path)
    network = made.network()
    network.eval()
    batch = Batch(torch.randn(4, 1, 8, 8), Labels.hard(torch.zeros(4)), torch.arange(4))
    places = places_of(network)
    streams: Streams = {"main": batch}
    for start, end in pairwise(places):
        maps = Stretch(network, start, end)(streams, ["main"])["main"].need("features")
        streams = {"main": batch.replace(inputs=maps)}
    found = Stretch(network, places[-1], None)(streams, ["main"])["main"]
    assert torch.equal(found.need("logits"), network.predict(batch.inputs).need("logits"))
