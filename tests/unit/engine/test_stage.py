"""Epoch of a training stage: batches, streams, the clock, and the arguments that parts get."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ltrun.engine.stage import Row, batches
from ltrun.loss import Classification
from ltrun.parts import Augment, Term
from ltrun.reweighting import Deferred
from ltrun.types import Batch, Outputs, Streams, View
from tests.support.cases import bound, changed, composed, differing, digits, normaliser, small, snapshot, trainer
from tests.support.narrow import present
from tests.support.training import N, Recorder, Some, mine, node, with_term


@pytest.fixture(autouse=True)
def reset() -> None:
    Recorder.seen = []


# ---------------------------------------------------------------------------------------------------------------- batches


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 200), st.integers(1, 70))
def test_batches_keep_every_row_in_order_and_leave_none_alone(length: int, size: int) -> None:
    rows = torch.arange(length) * 3
    split = batches(rows, size)
    assert torch.equal(torch.cat(split), rows)
    assert all(len(batch) == size for batch in split[:-1])
    assert len(split[-1]) <= size + 1
    assert len(split[-1]) > 1 or length == 1 or len(split) == 1


@pytest.mark.parametrize(
    ("length", "size", "expected"),
    [(129, 64, [64, 65]), (128, 64, [64, 64]), (70, 32, [32, 32, 6]), (1, 64, [1]), (65, 64, [65])],
)
def test_a_lone_last_row_joins_the_batch_before_it(length: int, size: int, expected: list[int]) -> None:
    assert [len(batch) for batch in batches(torch.arange(length), size)] == expected


@pytest.mark.parametrize("batch_size", [32, 35, 69, 70, 1000])
def test_the_loss_of_an_epoch_is_the_mean_over_its_images(batch_size: int, tmp_path: Path) -> None:
    """A smaller last batch counts by its images: the mean row number is the mean over all rows at any batch size."""
    rows: list[Row] = []
    recipe = with_term(node(Recorder), weight=0.5)
    trainer(recipe, tmp_path, report=rows.append, batch_size=batch_size).run()
    assert sorted(row for step in Recorder.seen for row in step["main"]) == sorted([*range(N)] * 2), "every row twice"
    for row in rows:
        assert row["losses"]["mine"] == pytest.approx(0.5 * (N - 1) / 2, rel=1e-12)
        assert set(row["losses"]) == {"classification", "mine"} and row["images"] == N
        assert row["loss"] == pytest.approx(sum(row["losses"].values()), rel=1e-6)


def test_a_row_of_the_history_names_its_stage_epoch_and_learning_rate(tmp_path: Path) -> None:
    rows: list[Row] = []
    composition = small(composed("method=crt", "schedule=multistep"), epochs=10)
    trainer(bound(composition), tmp_path, report=rows.append, every=4).run()
    stages = [("train", epoch, 10) for epoch in range(1, 11)] + [("classifier", 1, 1)]
    assert [(row["stage"], row["epoch"], row["epochs"]) for row in rows] == stages
    assert [row["epoch"] for row in rows if "evaluation" in row] == [4, 8, 10, 1], "the last epoch is always evaluated"
    rates = [row["learning_rate"] for row in rows]
    assert rates == pytest.approx([0.1] * 8 + [0.001, 0.00001] + [0.1]), "each stage has its own clock and base rate"
    assert all(row["seconds"] > 0 and row["images_per_second"] > 0 for row in rows)


# ---------------------------------------------------------------------------------------------------------------- streams


class Reader(Recorder):
    streams = ("main", "longer", "shorter", "same")


def test_a_stream_is_cut_or_repeated_to_the_length_of_main_and_a_copy_shares_its_rows(tmp_path: Path) -> None:
    streams = {
        "longer": {"sampler": node(Some, length=N)},
        "shorter": {"sampler": node(Some, length=4)},
        "same": {"of": "main"},
        "also": {"of": "shorter"},
    }
    recipe = with_term(node(Reader), resampling={"sampler": node(Some, length=10)}, ensemble={"streams": streams}, epochs=1)
    trainer(recipe, tmp_path, batch_size=6).run()
    assert Recorder.seen == [
        {
            "main": [0, 1, 2, 3, 4, 5],
            "longer": [0, 1, 2, 3, 4, 5],
            "shorter": [0, 1, 2, 3, 0, 1],
            "same": [0, 1, 2, 3, 4, 5],
            "also": [0, 1, 2, 3, 0, 1],
        },
        {"main": [6, 7, 8, 9], "longer": [6, 7, 8, 9], "shorter": [2, 3, 0, 1], "same": [6, 7, 8, 9], "also": [2, 3, 0, 1]},
    ]


def test_the_order_of_an_epoch_is_a_function_of_seed_stage_and_epoch(tmp_path: Path) -> None:
    orders: list[tuple[list[int], list[int]]] = []
    for seed in (0, 0, 1):
        Recorder.seen = []
        trainer(with_term(node(Recorder)), tmp_path / str(len(orders)), seed=seed).run()
        rows = [row for step in Recorder.seen for row in step["main"]]
        orders.append((rows[:N], rows[N:]))
    assert orders[0] == orders[1] and orders[0] != orders[2]
    assert orders[0][0] != orders[0][1] and sorted(orders[0][0]) == sorted(orders[0][1]) == list(range(N))


def test_two_stages_draw_different_orders(tmp_path: Path) -> None:
    composition = changed(small(composed()), plan=["one", "two"], stages={"one": {}, "two": {}}, epochs=1)
    mixed = changed(composition, representation__terms={"mine": {"part": node(Recorder)}})
    trainer(mine(mixed), tmp_path).run()
    half = len(Recorder.seen) // 2
    assert Recorder.seen[:half] != Recorder.seen[half:]


class Counter(Augment):
    """Adds one to every pixel of the stored uint8 images."""

    def forward(self, batch: Batch) -> Batch:
        assert batch.inputs.dtype == torch.uint8
        return batch.replace(inputs=batch.inputs.clamp(max=254) + 1)


class Images(Term):
    streams = ("main", "copy", "bare")
    sums: ClassVar[list[list[float]]] = []

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        assert outputs["copy"].logits is not None
        Images.sums.append([float(streams[name].inputs.double().sum()) for name in self.streams])
        return 0 * torch.stack([present(outputs[name].logits).sum() for name in self.streams]).sum()


def test_each_stream_is_augmented_on_its_own(tmp_path: Path) -> None:
    Images.sums = []
    streams = {"copy": {"of": "main"}, "bare": {"of": "main", "augments": {}}}
    recipe = with_term(
        node(Images),
        epochs=1,
        ensemble={"streams": streams},
        dataset__augments={"count": node(Counter), "twice": node(Counter)},
    )
    trainer(recipe, tmp_path, batch_size=N).run()
    ((main, copy, bare),) = Images.sums
    images = digits()[0].images
    twice = images.clamp(max=253) + 2
    pixel = float(normaliser()(twice).double().sum())
    assert main == pytest.approx(pixel) and copy == pytest.approx(pixel)
    assert bare == pytest.approx(float(normaliser()(images).double().sum()))


# ------------------------------------------------------------------------------------------------------------------ clock


class Watcher(Term):
    """Replaces the classification loss, and records when its deferred weights are active."""

    active: ClassVar[list[tuple[str, int, bool]]] = []

    def __init__(self, *, classify: Classification):
        super().__init__()
        self.classify = classify

    def adapt(self, view: View) -> None:
        self.clock = view.clock

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        (deferred,) = self.classify.weighs
        assert isinstance(deferred, Deferred)
        entry = (self.clock.stage, self.clock.epoch, bool(deferred.active))
        if entry not in Watcher.active:
            Watcher.active.append(entry)
        return self.classify(outputs, streams)


@pytest.mark.parametrize(("epochs", "first"), [(5, 4), (10, 8), (3, 2), (1, 1), (2, 1)])
def test_deferred_weights_start_at_their_epoch_in_every_stage(epochs: int, first: int, tmp_path: Path) -> None:
    Watcher.active = []
    composition = changed(
        small(composed("reweighting=drw"), epochs),
        plan=["one", "two"],
        stages={"one": {}, "two": {"fraction": 2}},
        representation__terms={"classification": {"part": node(Watcher)}},
    )
    trainer(mine(composition), tmp_path).run()
    second = int(0.8 * 2 * epochs + 1e-9)
    assert Watcher.active == [
        *(("one", epoch, epoch >= first) for epoch in range(epochs)),
        *(("two", epoch, epoch >= second) for epoch in range(2 * epochs)),
    ]


def test_a_part_that_calls_predict_does_not_change_training(tmp_path: Path) -> None:
    """`view.predict` runs in evaluation mode without gradients, and leaves modes and statistics as they were."""
    first = trainer(with_term(node(Looker, look=False), epochs=2), tmp_path / "a").run()
    second = trainer(with_term(node(Looker, look=True), epochs=2), tmp_path / "b").run()
    assert differing(snapshot(first), snapshot(second)) == set()


class Looker(Term):
    def __init__(self, look: bool):
        super().__init__()
        self.look = look

    def adapt(self, view: View) -> None:
        if self.look:
            images = view.open(torch.arange(8)).inputs
            assert torch.equal(images, digits()[0].images[:8]), "the images as they are stored"
            outputs, again = view.predict(images), view.predict(images[:4])
            assert outputs.logits is not None and again.logits is not None and not outputs.logits.requires_grad
            torch.testing.assert_close(outputs.logits[:4], again.logits, rtol=1e-4, atol=1e-5)

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        assert outputs["main"].logits is not None
        assert outputs["main"].logits.requires_grad
        return 0 * outputs["main"].logits.sum()


class AfterStep(Term):
    """Checks the arguments of `after_step`."""

    steps: ClassVar[int] = 0

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        assert outputs["main"].logits is not None
        self.logits, self.labels = outputs["main"].logits, streams["main"].targets
        return 0 * outputs["main"].logits.sum()

    def after_step(self, outputs: Mapping[str, Outputs], streams: Streams) -> None:
        assert not torch.is_grad_enabled()
        logits = outputs["main"].logits
        assert logits is not None and not logits.requires_grad and torch.equal(logits, self.logits)
        assert streams["main"].targets is self.labels, "the streams as the terms saw them"
        AfterStep.steps += 1


def test_after_step_gets_the_outputs_and_streams_of_the_terms(tmp_path: Path) -> None:
    AfterStep.steps = 0
    trainer(with_term(node(AfterStep), composed("augmentation=[cmo,mixup]")), tmp_path).run()
    assert AfterStep.steps == 2 * math.ceil(N / 32)
