"""Trainer of the stages of a run: the parameters of each optimizer, frozen parameters and statistics, the epoch it keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from ltrun.engine.stage import Row
from ltrun.errors import ConfigError
from ltrun.optimizer.sgd import SGD, FusedSGD
from ltrun.parts import Network
from tests.support.cases import bound, changed, composed, differing, small, snapshot, trainer
from tests.support.training import mine, node


@pytest.fixture(autouse=True)
def reset() -> None:
    Spy.built = []


# -------------------------------------------------------------------------------------------------------------- optimizer


class Spy(SGD):
    """Records the parameters that it is asked to train."""

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


def test_the_first_stage_of_crt_trains_every_parameter(tmp_path: Path) -> None:
    composition = changed(small(composed("method=crt"), epochs=1), optimizer=node(Spy), plan=["train"])
    network = trainer(mine(composition), tmp_path).run()
    assert names_of(network, Spy.built[0]) == {name for name, _ in network.named_parameters()}


def test_patterns_that_match_nothing_are_refused_by_name(tmp_path: Path) -> None:
    composition = changed(small(composed("method=crt")), stages__classifier__trainable=["*head*", "nothing*"])
    with pytest.raises(ConfigError, match=r"stages\.classifier\.trainable: no parameter of the network matches 'nothing\*'"):
        trainer(bound(composition), tmp_path).run()


# ----------------------------------------------------------------------------------------------------------------- stages


class Snapshots:
    """Records the network's state at the end of every epoch, as the trainer's `evaluate`."""

    def __init__(self) -> None:
        self.states: list[dict[str, Tensor]] = []

    def __call__(self, network: Network) -> dict[str, dict[str, Any]]:
        self.states.append(snapshot(network))
        return {"test": {"accuracy": 0.5}}


STATISTICS = ("running_mean", "running_var")


def two_stages(method: str, folder: Path, epochs: int = 2, **changes: Any) -> tuple[set[str], set[str], set[str]]:
    """Returns the names that the second stage changed: parameters of heads, normalisation statistics, other parameters."""
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
def test_statistics_of_a_stage_that_trains_everything_move_unless_held(norm: str, moves: bool, tmp_path: Path) -> None:
    _, statistics, others = two_stages(
        "method=crt", tmp_path, stages__classifier__norm=norm, stages__classifier__trainable=None
    )
    assert bool(statistics) is moves and len(others) > 10


@pytest.mark.parametrize("first", ["margin=none", "ensemble=ride", "ensemble=bbn", "method=paco", "classifier=cosine"])
def test_crt_after_any_first_stage_changes_heads_only(first: str, tmp_path: Path) -> None:
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


def test_a_head_is_drawn_anew_only_with_reset_head(tmp_path: Path) -> None:
    """With a learning rate near zero, the second stage ends where it began."""
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
    assert (heads[True][1] - heads[True][0]).abs().mean() > 0.1, "the head is another draw, not a small change"
    assert torch.equal(heads[True][0], heads[False][0])


def test_the_second_stage_has_an_optimizer_of_its_own(tmp_path: Path) -> None:
    """It inherits neither momentum nor learning rate: with a rate near zero no parameter moves, at any step."""
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
    """Returns the k-th of the given accuracies at the k-th evaluation."""

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
        ([None, None, None, None], True, 3),  # no validation split: the last epoch, and no choice by test accuracy
        ([0.0, 0.0, 0.0, 0.0], True, 0),
    ],
)
def test_selection_keeps_the_best_epoch_on_validation_or_the_last_epoch(
    verdicts: list[Any], select: bool, best: int, tmp_path: Path
) -> None:
    judge = Judge(verdicts)
    recipe = bound(small(composed(), epochs=4))
    chosen: dict[str, Any] = {"evaluate": judge, "every": 1, "selection": "best_val" if select else "last"}
    network = trainer(recipe, tmp_path, **chosen).run()
    assert differing(snapshot(network), judge.states[best]) == set()
    again = trainer(recipe, tmp_path, **chosen).run()  # loads the checkpoint
    assert differing(snapshot(again), judge.states[best]) == set()


def test_the_best_epoch_belongs_to_the_last_stage(tmp_path: Path) -> None:
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
        judge.states.pop()  # the state of the epoch that is trained again
        network = trainer(recipe, folder, **settings).run()
        assert differing(snapshot(network), whole.states[1]) == set()
