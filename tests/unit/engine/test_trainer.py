"""The loop: streams, losses, clocks, stages, freezing, selection, and the first thing that is not finite."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ltrun.config.compose import Job
from ltrun.data import Splits
from ltrun.engine.checkpoint import Checkpoints
from ltrun.engine.monitor import LossMonitor
from ltrun.engine.predictors import Predictors
from ltrun.engine.progress import Bar
from ltrun.engine.run import run
from ltrun.engine.stage import Row, StageRun, augments_of, batches
from ltrun.errors import ConfigError, TrainingError
from ltrun.loss import Classification
from ltrun.optimizer.sgd import SGD, FusedSGD
from ltrun.parts import Adjust, Augment, Criterion, Head, Mixer, Network, Sampler, Term, Weigh
from ltrun.recipe.stage import Recipe
from ltrun.reweighting import Deferred
from ltrun.types import Batch, Clock, Labels, Outputs, Streams, View
from tests.support.cases import (
    COUNTS,
    CPU,
    OPTIONS,
    Composed,
    accuracies,
    assembled,
    bound,
    changed,
    composed,
    covering,
    differing,
    digits,
    normaliser,
    small,
    snapshot,
    trainer,
)
from tests.support.narrow import present

HERE = ("tests",)  # a plugin: its classes may be named
N = int(COUNTS.sum())


def node(part: type, **arguments: Any) -> dict[str, Any]:
    return {"_target_": f"{__name__}.{part.__name__}", **arguments}


def mine(composition: Composed) -> Recipe:
    """With the parts of this file allowed."""
    return bound(composition, HERE)


def with_term(part: dict[str, Any], composition: Composed | None = None, weight: float = 1.0, **changes: Any) -> Recipe:
    """A plain recipe, or the one given, with a further term."""
    composition = small(composition or composed(), epochs=2)
    return mine(changed(composition, representation__terms={"mine": {"weight": weight, "part": part}}, **changes))


@pytest.fixture(autouse=True)
def reset() -> None:
    Recorder.seen = []
    Spy.built = []


class Recorder(Term):
    """Remembers the rows and labels of each step's streams. Its value is the mean row number of `main`."""

    seen: ClassVar[list[dict[str, list[int]]]] = []

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        assert outputs["main"].logits is not None
        Recorder.seen.append({name: batch.rows.tolist() for name, batch in streams.items()})
        return streams["main"].rows.double().mean() + 0 * outputs["main"].logits.sum()


class Some(Sampler):
    """The first `length` rows, in order."""

    def __init__(self, length: int):
        super().__init__()
        self.length = length

    def draw(self, targets: Labels, clock: Clock, generator: torch.Generator) -> Tensor:
        return torch.arange(self.length)


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
    """Partial last batches count by their images: the mean row number is that of all rows, however they are split."""
    rows: list[Row] = []
    recipe = with_term(node(Recorder), weight=0.5)
    trainer(recipe, tmp_path, report=rows.append, batch_size=batch_size).run()
    assert sorted(row for step in Recorder.seen for row in step["main"]) == sorted([*range(N)] * 2), "every row twice"
    for row in rows:
        assert row["losses"]["mine"] == pytest.approx(0.5 * (N - 1) / 2, rel=1e-12)
        assert set(row["losses"]) == {"classification", "mine"} and row["images"] == N
        assert row["loss"] == pytest.approx(sum(row["losses"].values()), rel=1e-6)


def test_a_row_of_the_history_says_where_it_stands(tmp_path: Path) -> None:
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


def test_streams_of_other_lengths_are_cut_or_begin_again_and_of_main_has_its_rows(tmp_path: Path) -> None:
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


def test_two_stages_do_not_draw_the_same(tmp_path: Path) -> None:
    composition = changed(small(composed()), plan=["one", "two"], stages={"one": {}, "two": {}}, epochs=1)
    mixed = changed(composition, representation__terms={"mine": {"part": node(Recorder)}})
    trainer(mine(mixed), tmp_path).run()
    half = len(Recorder.seen) // 2
    assert Recorder.seen[:half] != Recorder.seen[half:]


class Counter(Augment):
    """Adds one to every pixel: sees uint8 images of its stream."""

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
    """Stands for the classification loss and remembers what its deferred weights do."""

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


@pytest.mark.parametrize(("epochs", "first"), [(5, 4), (10, 8), (3, 2), (1, 0), (2, 1)])
def test_a_deferred_switch_falls_on_its_epoch_in_every_stage(epochs: int, first: int, tmp_path: Path) -> None:
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


def test_a_part_that_looks_changes_nothing(tmp_path: Path) -> None:
    """`view.predict` is in evaluation mode and without gradient, and leaves modes and statistics alone."""
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
            assert torch.equal(images, digits()[0].images[:8]), "as they are stored"
            outputs, again = view.predict(images), view.predict(images[:4])
            assert outputs.logits is not None and again.logits is not None and not outputs.logits.requires_grad
            torch.testing.assert_close(outputs.logits[:4], again.logits, rtol=1e-4, atol=1e-5)

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        assert outputs["main"].logits is not None
        assert outputs["main"].logits.requires_grad
        return 0 * outputs["main"].logits.sum()


class AfterStep(Term):
    """Checks what the trainer hands to after_step."""

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


def test_after_step_sees_the_step_as_the_terms_did(tmp_path: Path) -> None:
    AfterStep.steps = 0
    trainer(with_term(node(AfterStep), composed("augmentation=[cmo,mixup]")), tmp_path).run()
    assert AfterStep.steps == 2 * math.ceil(N / 32)


# -------------------------------------------------------------------------------------------------------------- optimizer


class Spy(SGD):
    """Remembers what it is asked to train."""

    built: ClassVar[list[list[nn.Parameter]]] = []

    def build(self, parameters: Mapping[str, nn.Parameter]) -> FusedSGD:
        Spy.built.append(list(parameters.values()))
        return super().build(parameters)


def names_of(network: Network, parameters: list[nn.Parameter]) -> set[str]:
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    return {names[id(parameter)] for parameter in parameters}


@pytest.mark.parametrize("method", ["crt", "lws", "paco"])
def test_the_optimizer_gets_every_trainable_parameter_once_and_no_other(method: str, tmp_path: Path) -> None:
    composition = small(composed(f"method={method}"), epochs=1)
    composition = changed(composition, optimizer=node(Spy, lr=0.1))
    if method != "paco":
        composition = changed(composition, stages__classifier__optimizer=node(Spy, lr=0.1))
    network = trainer(mine(composition), tmp_path).run()
    everything = {name for name, _ in network.named_parameters()}
    first, *second = Spy.built
    assert len(first) == len({id(p) for p in first})
    if method == "paco":
        assert names_of(network, first) == everything and not any("twin" in name for name in everything)
    elif method == "crt":
        assert len(first) == len(everything) and names_of(network, second[0]) == {"head.weight", "head.bias"}
    else:
        assert names_of(network, second[0]) == {"head.scales"} and len(first) == len(everything) - 1
    assert {name for name, p in network.named_parameters() if p.requires_grad} == names_of(network, Spy.built[-1])


def test_the_first_optimizer_trains_all_of_a_two_stage_run(tmp_path: Path) -> None:
    composition = changed(small(composed("method=crt"), epochs=1), optimizer=node(Spy), plan=["train"])
    network = trainer(mine(composition), tmp_path).run()
    assert names_of(network, Spy.built[0]) == {name for name, _ in network.named_parameters()}


def test_patterns_that_match_nothing_are_refused_by_name(tmp_path: Path) -> None:
    composition = changed(small(composed("method=crt")), stages__classifier__trainable=["*head*", "nothing*"])
    with pytest.raises(ConfigError, match=r"stages\.classifier\.trainable: no parameter of the network matches 'nothing\*'"):
        trainer(bound(composition), tmp_path).run()


# ----------------------------------------------------------------------------------------------------------------- stages


class Snapshots:
    """The network's state at the end of every epoch, through the trainer's own callback."""

    def __init__(self) -> None:
        self.states: list[dict[str, Tensor]] = []

    def __call__(self, network: Network) -> dict[str, dict[str, Any]]:
        self.states.append(snapshot(network))
        return {"test": {"accuracy": 0.5}}


STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def two_stages(method: str, folder: Path, epochs: int = 2, **changes: Any) -> tuple[set[str], set[str], set[str]]:
    """Names of what the second stage changed: parameters of heads, normalisation statistics, other parameters."""
    seen = Snapshots()
    composition = changed(small(composed(*method.split("+")), epochs=epochs), **changes)
    network = trainer(mine(composition), folder, evaluate=seen, every=1).run()
    names = differing(seen.states[epochs - 1], seen.states[-1])
    parameters = names & {name for name, _ in network.named_parameters()}
    heads = {name for name in parameters if "head" in name}
    return heads, {name for name in names if name.endswith(STATISTICS)}, parameters - heads


ALL_STATISTICS = {"bn1", *(f"layer{layer}.0.bn{bn}" for layer in (1, 2, 3) for bn in (1, 2))}


@pytest.mark.parametrize(("norm", "moves"), [("track", True), ("follow", False), ("hold", False)])
def test_crt_changes_the_head_only_and_statistics_as_norm_says(norm: str, moves: bool, tmp_path: Path) -> None:
    heads, statistics, others = two_stages("method=crt", tmp_path, stages__classifier__norm=norm)
    assert others == set(), "the features are frozen, to the bit"
    assert heads == {"head.weight", "head.bias"}
    assert statistics == ({f"backbone.{name}.{s}" for name in ALL_STATISTICS for s in STATISTICS} if moves else set())


@pytest.mark.parametrize(
    ("norm", "moving"), [("track", ALL_STATISTICS), ("follow", {"layer3.0.bn1", "layer3.0.bn2"}), ("hold", set())]
)
def test_statistics_follow_the_parameters_of_their_own_layer(norm: str, moving: set[str], tmp_path: Path) -> None:
    trained = ["backbone.layer3*", "head*"]
    _, statistics, others = two_stages(
        "method=crt", tmp_path, stages__classifier__norm=norm, stages__classifier__trainable=trained
    )
    assert {name.split(".")[1] for name in others} == {"layer3"}
    assert statistics == {f"backbone.{name}.{s}" for name in moving for s in STATISTICS}


@pytest.mark.parametrize(("norm", "moves"), [("track", True), ("follow", True), ("hold", False)])
def test_statistics_of_a_stage_that_trains_everything(norm: str, moves: bool, tmp_path: Path) -> None:
    _, statistics, others = two_stages(
        "method=crt", tmp_path, stages__classifier__norm=norm, stages__classifier__trainable=None
    )
    assert bool(statistics) is moves and len(others) > 10


@pytest.mark.parametrize("first", ["margin=none", "ensemble=ride", "ensemble=bbn", "method=paco", "classifier=cosine"])
def test_crt_after_anything_changes_heads_only(first: str, tmp_path: Path) -> None:
    heads, _, others = two_stages(f"{first}+decoupling=crt", tmp_path, stages__classifier__norm="hold")
    assert others == set()
    assert {name.rpartition(".")[0] for name in heads} in ({"head"}, {"network.head"}, {"heads.0", "heads.1", "heads.2"})


def test_lws_changes_the_scales_only(tmp_path: Path) -> None:
    seen = Snapshots()
    composition = small(composed("method=lws"), epochs=2)
    trainer(bound(composition), tmp_path, evaluate=seen, every=1).run()
    before, after = seen.states[1], seen.states[-1]
    inner = {name.replace("head.head.", "head."): tensor for name, tensor in after.items() if name != "head.scales"}
    changed_names = differing(before, inner)
    assert {name for name in changed_names if not name.endswith(STATISTICS)} == set()
    assert after["head.scales"].shape == (10,) and (after["head.scales"] != 1).all()


def test_a_reset_head_begins_anew_and_another_does_not(tmp_path: Path) -> None:
    """With a learning rate of almost nothing the second stage ends where it began."""
    heads = {}
    for reset in (True, False):
        seen = Snapshots()
        composition = changed(
            small(composed("method=crt"), epochs=1),
            stages__classifier__reset_head=reset,
            stages__classifier__optimizer={"_target_": "ltrun.optimizer.SGD", "lr": 1e-30},
        )
        trainer(bound(composition), tmp_path / str(reset), evaluate=seen, every=1).run()
        heads[reset] = [state["head.weight"] for state in seen.states]
    assert not torch.equal(*heads[True]) and torch.equal(*heads[False])
    assert (heads[True][1] - heads[True][0]).abs().mean() > 0.1, "it is not a small change but another draw"
    assert torch.equal(heads[True][0], heads[False][0])


def test_the_second_stage_has_an_optimizer_of_its_own(tmp_path: Path) -> None:
    """Neither momentum nor rate is inherited: with lr of almost nothing nothing moves, in its first step or later."""
    composition = changed(
        small(composed(), epochs=1),
        plan=["one", "two"],
        stages={"one": {}, "two": {"optimizer": {"_target_": "ltrun.optimizer.SGD", "lr": 1e-30, "weight_decay": 0.0}}},
    )
    seen = Snapshots()
    trainer(bound(composition), tmp_path, evaluate=seen, every=1).run()
    moved = {name for name in differing(*seen.states) if not name.endswith(STATISTICS)}
    assert moved == set()


# -------------------------------------------------------------------------------------------------------------- selection


class Judge:
    """Says of the k-th evaluation what it is told to."""

    def __init__(self, accuracies: Sequence[float | None]):
        self.accuracies, self.states = accuracies, list[dict[str, Tensor]]()

    def __call__(self, network: Network) -> dict[str, dict[str, Any]]:
        self.states.append(snapshot(network))
        accuracy = self.accuracies[len(self.states) - 1]
        return {"test": {"accuracy": 1 - (accuracy or 0)}, **({} if accuracy is None else {"val": {"accuracy": accuracy}})}


@pytest.mark.parametrize(
    ("verdicts", "select", "best"),
    [
        ([0.2, 0.9, 0.3, 0.4], True, 1),
        ([0.9, 0.2, 0.3, 0.4], True, 0),
        ([0.1, 0.2, 0.3, 0.4], True, 3),
        ([0.5, 0.9, 0.9, 0.9], True, 1),  # the first of equals
        ([0.2, 0.9, 0.3, 0.4], False, 3),
        ([None, None, None, None], True, 3),  # no validation split: nothing to choose by, never the test accuracy
        ([0.0, 0.0, 0.0, 0.0], True, 0),
    ],
)
def test_the_best_epoch_on_validation_is_what_remains(verdicts: list[Any], select: bool, best: int, tmp_path: Path) -> None:
    judge = Judge(verdicts)
    recipe = bound(small(composed(), epochs=4))
    chosen: dict[str, Any] = {"evaluate": judge, "every": 1, "selection": "best_val" if select else "last"}
    network = trainer(recipe, tmp_path, **chosen).run()
    assert differing(snapshot(network), judge.states[best]) == set()
    again = trainer(recipe, tmp_path, **chosen).run()  # from its checkpoint
    assert differing(snapshot(again), judge.states[best]) == set()


def test_the_best_epoch_is_one_of_the_last_stage(tmp_path: Path) -> None:
    judge = Judge([0.99, 0.98, 0.2, 0.5, 0.3])
    composition = changed(small(composed("method=crt"), epochs=2), stages__classifier__fraction=1.5)
    network = trainer(bound(composition), tmp_path, evaluate=judge, every=1, selection="best_val").run()
    assert differing(snapshot(network), judge.states[3]) == set()
    frozen = "backbone.conv1.weight"  # the first stage hands on its last epoch, not its best
    assert torch.equal(judge.states[2][frozen], judge.states[1][frozen])
    assert not torch.equal(judge.states[1][frozen], judge.states[0][frozen])


def test_the_best_epoch_survives_an_interruption(tmp_path: Path) -> None:
    verdicts: list[float | None] = [0.2, 0.9, 0.3, 0.4]
    recipe = bound(small(composed(), epochs=4))
    whole = Judge(verdicts)
    trainer(recipe, tmp_path / "whole", evaluate=whole, every=1, selection="best_val").run()
    for stop in (1, 2, 3):
        judge, folder = Judge(verdicts), tmp_path / str(stop)

        def tell(row: Row, stop: int = stop) -> None:
            if row["epoch"] == stop + 1:
                raise KeyboardInterrupt

        settings: dict[str, Any] = {"evaluate": judge, "every": 1, "selection": "best_val"}
        with pytest.raises(KeyboardInterrupt):
            trainer(recipe, folder, report=tell, **settings).run()
        judge.states.pop()  # of the epoch that is done again
        network = trainer(recipe, folder, **settings).run()
        assert differing(snapshot(network), whole.states[1]) == set()


# ------------------------------------------------------------------------------------------------------------- not finite


class Bad:
    """nan from the n-th call on: in the second epoch, at its second step of three."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, value: Tensor) -> Tensor:
        self.calls += 1
        return value * torch.where(torch.tensor(self.calls >= 5), math.nan, 1.0)


class BadTerm(Term):
    def __init__(self) -> None:
        super().__init__()
        self.bad = Bad()

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        assert outputs["main"].logits is not None
        return self.bad(outputs["main"].logits.square().mean())


class BadAdjust(Adjust):
    def __init__(self) -> None:
        super().__init__()
        self.bad = Bad()

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return self.bad(logits)


class BadWeigh(Weigh):
    def __init__(self) -> None:
        super().__init__()
        self.bad = Bad()

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return self.bad(torch.ones(len(labels)))


class BadCriterion(Criterion):
    def __init__(self) -> None:
        super().__init__()
        self.bad = Bad()

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return self.bad(nn.functional.cross_entropy(logits, labels, reduction="none"))


class BadMixer(Mixer):
    def __init__(self) -> None:
        super().__init__()
        self.bad = Bad()

    def forward(self, streams: Streams) -> dict[str, Batch]:
        return {**streams, "main": streams["main"].replace(inputs=self.bad(streams["main"].inputs))}


class BadHead(Head):
    def __init__(self, *, features: int, num_classes: int) -> None:
        super().__init__()
        self.inner, self.bad = nn.Linear(features, num_classes), Bad()

    def forward(self, features: Tensor) -> Tensor:
        return self.bad(self.inner(features)) if self.training else self.inner(features)

    @property
    def classes(self) -> Tensor:
        return self.inner.weight


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "term": ({"representation": {"terms": {"mine": {"part": node(BadTerm)}}}}, r"mine|BadTerm"),
    "adjust": ({"margin": {"adjust": node(BadAdjust)}}, r"margin|BadAdjust"),
    "weigh": ({"reweighting": {"weigh": node(BadWeigh)}}, r"reweighting|BadWeigh"),
    "criterion": ({"reweighting": {"criterion": node(BadCriterion)}}, r"reweighting|BadCriterion"),
    "mixer": ({"augmentation": {"mixers": {"mine": node(BadMixer)}}}, r"mine|BadMixer|augmentation"),
    "head": ({"classifier": {"head": node(BadHead)}}, r"network|BadHead"),
}


@pytest.mark.parametrize(("changes", "named"), BAD.values(), ids=BAD)
def test_what_is_not_finite_first_is_named_with_its_epoch_and_step(changes: dict[str, Any], named: str, tmp_path: Path) -> None:
    rows: list[Row] = []
    recipe = mine(changed(small(composed(), epochs=4), **changes))
    with pytest.raises(TrainingError) as caught:
        trainer(recipe, tmp_path, report=rows.append).run()
    sentence = str(caught.value)
    assert "not finite" in sentence and "stage 'train'" in sentence and "epoch 2" in sentence and "step 2" in sentence
    assert re.search(named, sentence.split("the last good checkpoint")[0]), f"the part is not named: {sentence}"
    assert len(rows) == 1, "nothing is recorded of the epoch that failed"
    kept = Checkpoints(tmp_path).load(CPU, pytest.fail)
    assert kept is not None and kept["epoch"] == 1
    assert all(tensor.isfinite().all() for tensor in kept["module"].values())


class BadOnce(Adjust):
    """nan in one call alone: the first label column of the second epoch's second step."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        self.calls += 1
        return logits * (math.nan if self.calls == 9 else 1.0)


def test_a_part_that_is_called_for_each_label_column_is_named_for_any_of_them(tmp_path: Path) -> None:
    recipe = mine(changed(small(composed("augmentation=mixup"), epochs=4), margin={"adjust": node(BadOnce)}))
    with pytest.raises(TrainingError, match=r"(margin|BadOnce).*epoch 2, step 2"):
        trainer(recipe, tmp_path).run()


def test_a_rate_that_is_too_high_is_reported_by_what_overflowed(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"not finite: .*step \d+; .*Lower optimizer\.lr"):
        trainer(bound(changed(small(composed()), optimizer__lr=1e30)), tmp_path).run()
    assert Checkpoints(tmp_path).load(CPU, pytest.fail) is None


def test_the_watch_names_the_earliest() -> None:
    monitor, nan, one = LossMonitor(["a", "b"], ["main", "key"]), torch.tensor(math.nan), torch.tensor(1.0)
    for step in range(4):
        values = {"a": nan if step >= 2 else one, "b": nan if step == 1 else one, "total": nan if step >= 1 else one}
        monitor.see(2, values, {"main": Outputs(logits=torch.zeros(2, 3)), "key": Outputs()})
    with pytest.raises(TrainingError, match=r"term 'b', stage 's', epoch 3, step 2"):
        monitor.means(Clock("s", 2, 5), 8)


def test_the_watch_adds_up_by_images() -> None:
    monitor = LossMonitor(["a"], ["main"])
    for _ in range(2):
        monitor.begin()  # forgets what it saw before
        monitor.see(30, {"a": torch.tensor(1.0), "total": torch.tensor(2.0)}, {})
        monitor.see(10, {"a": torch.tensor(5.0), "total": torch.tensor(6.0)}, {})
    assert monitor.means(Clock("s", 0, 1), 40) == {"a": 2.0, "total": 3.0}


# --------------------------------------------------------------------------------------------- every pair of options trains


SHARES = 20
LEVELS = {slot: OPTIONS[slot] for slot in ("augmentation", "resampling", "reweighting", "posthoc", "ensemble")}
LEVELS |= {slot: OPTIONS[slot] for slot in ("logit_adjustment", "classifier", "decoupling", "margin", "representation")}


def allowed(picked: dict[str, str]) -> bool:
    try:
        bound(assembled(picked))
    except ConfigError:
        return False
    return True


@cache
def pairs() -> list[dict[str, str]]:
    """Few combinations that hold every pair of options that may be combined."""
    return covering(LEVELS, allowed)


@pytest.mark.contract
@pytest.mark.parametrize("share", range(SHARES))
def test_every_pair_of_options_that_binds_trains_and_predicts(share: int, tmp_path: Path, subtests: pytest.Subtests) -> None:
    assert len(pairs()) > SHARES
    for number, picked in enumerate(pairs()[share::SHARES]):
        with subtests.test(msg=" ".join(f"{slot}={option}" for slot, option in picked.items() if option != "none")):
            train_and_predict(picked, tmp_path / str(number))


def train_and_predict(picked: dict[str, str], tmp_path: Path) -> None:
    recipe = bound(small(assembled(picked), epochs=1))
    rows: list[Row] = []
    made = trainer(recipe, tmp_path, report=rows.append)
    network = made.run()
    assert len(rows) == len(recipe.stages) and all(math.isfinite(row["loss"]) for row in rows)
    train, test = digits()
    run = replace(made.context, splits=Splits(train, test, test, made.context.splits.names))
    posthoc = {name: part.build(run.injected()) for name, part in recipe.posthoc.items()}
    predictors = Predictors(network, run, posthoc, augments_of(recipe.stages[0], "main", run.injected()))
    predictors.fit()
    found, scores = predictors.measure()
    assert found.keys() == scores.keys() == {"plain", *posthoc}
    for name, predictor in found.items():
        assert scores[name].shape == (len(test), 10) and scores[name].isfinite().all()
        assert 0 <= predictor["splits"]["test"]["accuracy"] <= 1


# -------------------------------------------------------------------------------------------------------------- odd recipes


CALLED: dict[str, dict[str, Any]] = {
    "streams": {"sampler": node(Some, length=3)},
    "terms": {"part": node(Recorder)},
    "mixers": {"_target_": "ltrun.augmentation.Mixup"},
}


@pytest.mark.parametrize("role", CALLED)
def test_whatever_a_user_calls_a_stream_a_term_or_a_mixer(role: str, tmp_path: Path) -> None:
    """Names of a user's own become names of submodules, some of which torch refuses: that is a sentence, or it trains."""
    crashed = []
    for name in ["a.b", "", "train", "values", "type", "forward", "half", "to", "0", "main ", "größe", "plain_name"]:
        composition = changed(small(composed(), epochs=1), ensemble={role: {name: CALLED[role]}})
        try:
            recipe = mine(composition)
        except ConfigError as error:
            assert f"{role}.{name}" in str(error)
            continue
        made = trainer(recipe, tmp_path)
        network = made.network()
        try:
            StageRun.of(recipe.stages[0], network, made.context).epoch(Clock("train", 0, 1))
        except KeyError as error:
            crashed.append(f"{name!r}: {error}")
    assert crashed == []


@pytest.mark.parametrize("name", ["a b", "../out", "a/b", "/tmp", "größe", "", "x" * 300, "0", "a.b", "a\nb", "-"], ids=repr)
def test_whatever_a_user_calls_a_stage(name: str, tmp_path: Path) -> None:
    """Its name becomes one of a checkpoint: that is a sentence, or the run can be resumed and stays in its folder."""
    folder = tmp_path / "deep" / "run"
    composition = changed(small(composed(), epochs=2), plan=[name], stages={name: {}})
    try:
        recipe = bound(composition)
    except ConfigError as error:
        assert str(error).startswith(("plan", "stages"))
        return

    def tell(row: Row) -> None:
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer(recipe, folder, report=tell).run()
    rows: list[Row] = []
    trainer(recipe, folder, report=rows.append).run()
    assert [row["epoch"] for row in rows] == [2], "it did not go on from its checkpoint"
    assert {path.parent for path in tmp_path.rglob("*.pt")} == {folder}, "a checkpoint lies elsewhere"


class Nothing(Sampler):
    def draw(self, targets: Labels, clock: Clock, generator: torch.Generator) -> Tensor:
        return torch.arange(0)


@pytest.mark.parametrize("slot", ["resampling", "ensemble"])
def test_a_sampler_that_draws_nothing_is_a_sentence(slot: str, tmp_path: Path) -> None:
    content = {"sampler": node(Nothing)} if slot == "resampling" else {"streams": {"extra": {"sampler": node(Nothing)}}}
    recipe = mine(changed(small(composed(), epochs=1), **{slot: content}))
    with pytest.raises((ConfigError, TrainingError)):
        trainer(recipe, tmp_path).run()


def test_one_image_trains(tmp_path: Path) -> None:
    recipe = mine(changed(small(composed(), epochs=1), resampling={"sampler": node(Some, length=1)}))
    rows: list[Row] = []
    trainer(recipe, tmp_path, report=rows.append).run()
    assert rows[0]["images"] == 1


# ----------------------------------------------------------------------------------------------------------- a run, whole


def job(folder: Path, *overrides: str, **changes: Any) -> Job:
    composition = changed(small(composed("dataset.validation_per_class=2", *overrides), epochs=2), **changes)
    config, choices = changed(composition, runtime__device="cpu")
    return Job(config, choices, {}, choices["method"], "digits_lt", "01234567", folder, "plain")


@pytest.mark.parametrize(
    ("overrides", "predictors"),
    [
        (("method=crt", "selection=best_val", "evaluation.every=1"), ["plain"]),
        (
            ("method=sade", "posthoc=[sade_aggregation,ncm,logit_adjustment]"),
            ["plain", "sade_aggregation", "ncm", "logit_adjustment"],
        ),
    ],
)
def test_a_run_interrupted_in_every_epoch_has_the_same_record(
    overrides: tuple[str, ...], predictors: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(job(tmp_path / "whole", *overrides), Bar())
    told = Bar.epoch
    stops = 0

    def interrupt(self: Bar, row: Mapping[str, Any]) -> None:
        nonlocal stops
        told(self, row)
        if (row["stage"], row["epoch"]) not in done:
            done.add((row["stage"], row["epoch"]))
            stops += 1
            raise KeyboardInterrupt

    done: set[tuple[str, int]] = set()
    monkeypatch.setattr(Bar, "epoch", interrupt)
    while True:
        try:
            broken = run(job(tmp_path / "broken", *overrides), Bar())
            break
        except KeyboardInterrupt:
            assert not (tmp_path / "broken" / "result.json").exists()
    assert stops == sum(stage["epochs"] for stage in whole.stages)
    assert list(whole.predictors) == predictors and whole.predictors == broken.predictors
    assert set(whole.predictors["plain"]["splits"]) == {"test", "val"}
    files = [(tmp_path / name / "predictions.npz").read_bytes() for name in ("whole", "broken")]
    assert files[0] == files[1]
    lines = [len((tmp_path / name / "metrics.jsonl").read_text().splitlines()) for name in ("whole", "broken")]
    assert lines[0] == lines[1] == stops


@pytest.mark.parametrize(
    "changes",
    [
        {"dataset__prepare__mean": [0.3, 0.3], "dataset__prepare__std": [0.3, 0.3]},  # two channels for grey images
        {"dataset__prepare__mean": [0.3, 0.3]},
        {"dataset__prepare__mean": 0.3},
        {"dataset__prepare__mean": ["a"]},
        {"dataset__prepare__mean": [math.nan]},
        {"dataset__prepare__std": [0.0]},
        {"dataset__prepare__std": None},
    ],
    ids=str,
)
def test_a_normalisation_that_does_not_fit_is_a_sentence(changes: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"mean|std"):
        run(job(tmp_path, "method=erm", **changes), Bar())
    assert not list(tmp_path.glob("*.pt"))


def test_accuracies_of_the_last_line_are_those_of_the_record(tmp_path: Path) -> None:
    record = run(job(tmp_path, "method=erm"), Bar())
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    for split in ("test", "val"):
        for name in ("accuracy", "many", "medium", "few"):
            assert rows[-1]["evaluation"][split][name] == record.predictors["plain"]["splits"][split][name]


def test_the_small_set_is_what_the_tests_say_it_is() -> None:
    train, test = digits()
    assert torch.equal(torch.bincount(train.targets.primary), COUNTS) and len(test) == 30
    assert len(train.images.flatten(1).unique(dim=0)) == N, "no image twice"
    network = trainer(bound(small(composed(), epochs=1)), Path("/nowhere")).network()
    assert set(accuracies(network)) == {"test", "val"}
