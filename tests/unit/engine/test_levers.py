"""Levers of a faster step: refused where they have no effect, recorded, and kept apart in runs that take turns."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ltrun.engine.step
from ltrun.cli import dispatch
from ltrun.config.settings import Runtime
from ltrun.contracts.device import on_device
from ltrun.contracts.imagined import DEVICE, imagined_cuda
from ltrun.data import Resident
from ltrun.engine import levers
from ltrun.engine.distributed import Ranks
from ltrun.engine.step import Graph
from ltrun.engine.turns import Turns, yield_turn
from ltrun.errors import ConfigError
from ltrun.types import Batch, Streams
from tests.support.cases import bound, composed, differing, digits, settings, small, snapshot, trainer

GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a real CUDA device")
SHORT = ("dataset=digits_lt", "epochs=2", "network.depth=8", "evaluation.every=2")


def runtime(*on: str, **changes: Any) -> Runtime:
    return replace(settings().runtime, levers=list(on), **({"device": "cuda"} | changes))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["runtime.levers=[cudnn_serch]"], "runtime.levers: there is no 'cudnn_serch'; did you mean 'cudnn_search'?"),
        (["runtime.levers=[faster]"], "there is no 'faster'; known: cudnn_search, image_kernel, joint_casts, norm_relu_kernel"),
        (["runtime.levers=cudnn_search"], "runtime.levers: expected a list of texts, got 'cudnn_search'"),
        (["runtime.levers=[cudnn_search]", "runtime.device=cpu"], "cudnn_search is for CUDA devices: set runtime.device=cuda"),
        (["runtime.levers=[image_kernel]", "runtime.compile=true"], "image_kernel replaces operations for which inductor"),
        (["runtime.levers=[rows_in_graph]", "runtime.compile=false"], "rows_in_graph works in captured steps alone"),
        (
            ["runtime.levers=[joint_casts]"],
            "joint_casts is for bf16, not fp32: set runtime.precision=bf16, or leave joint_casts",
        ),
    ],
)
def test_a_lever_without_effect_is_refused_in_a_sentence(words: list[str], said: str, tmp_path: Path, capsys: Any) -> None:
    assert dispatch([*SHORT, "method=erm", f"outputs={tmp_path / 'runs'}", *words]) == 1
    told = " ".join(capsys.readouterr().err.split())
    assert said in told and "Traceback" not in told and not (tmp_path / "runs").exists()


@GPU
def test_a_lever_is_refused_where_auto_means_a_cpu(tmp_path: Path, capsys: Any) -> None:
    assert dispatch([*SHORT, "method=erm", f"outputs={tmp_path / 'runs'}", "runtime.levers=[cudnn_search]"]) == 1
    assert "this run's device is cpu" in " ".join(capsys.readouterr().err.split()) and not (tmp_path / "runs").exists()


def test_levers_that_work_are_accepted() -> None:
    every = set(levers.LEVERS)
    levers.check(runtime(*every, compile="auto", precision="bf16"))
    levers.check(runtime("rows_in_graph", "cudnn_search", compile=True))
    levers.check(runtime("image_kernel", "norm_relu_kernel", "cudnn_search", compile=False))


@pytest.mark.parametrize(
    ("lever", "sync_bn", "said"),
    [
        ("rows_in_graph", False, "rows_in_graph works in captured steps alone, which several ranks do not take"),
        ("parallel_gradients", False, "parallel_gradients works in captured steps alone"),
        ("norm_relu_kernel", True, "norm_relu_kernel does not reach over ranks: leave runtime.sync_bn=true out"),
    ],
)
def test_a_lever_without_effect_on_several_ranks_is_refused(lever: str, sync_bn: bool, said: str) -> None:
    levers.check(runtime(lever, sync_bn=sync_bn))
    with pytest.raises(ConfigError, match=said):
        levers.check(runtime(lever, sync_bn=sync_bn), ranks=Ranks(rank=1, world=2))


def test_levers_of_steps_that_are_not_captured_serve_several_ranks() -> None:
    levers.check(runtime("image_kernel", "norm_relu_kernel", "cudnn_search"), ranks=Ranks(world=2))


def test_a_kernel_is_refused_without_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(levers, "find_spec", lambda name: None)
    cuda = torch.device("cuda", 0)
    levers.check(runtime("rows_in_graph", "cudnn_search"), cuda)
    with pytest.raises(ConfigError, match="image_kernel needs Triton: pip install triton, or leave image_kernel out"):
        levers.check(runtime("cudnn_search", "image_kernel"), cuda)


@GPU
def test_the_record_names_the_levers_of_its_run(tmp_path: Path, capsys: Any) -> None:
    """They change no address: a run with a lever is the run without it."""
    words = [*SHORT, "method=erm", f"runtime.device={DEVICE}"]

    def trained(name: str, *more: str) -> tuple[Path, dict[str, Any]]:
        with imagined_cuda():
            assert dispatch([*words, f"outputs={tmp_path / name}", *more]) == 0
        (path,) = (tmp_path / name).rglob("result.json")
        return path.relative_to(tmp_path / name), json.loads(path.read_text())

    (plain, without), (searched, record) = trained("plain"), trained("searched", "runtime.levers=[cudnn_search]")
    assert plain == searched and record["changes"] == without["changes"]
    assert record["provenance"]["levers"] == ["cudnn_search"] and "levers" not in without["provenance"]
    capsys.readouterr()
    assert dispatch(["show", str(tmp_path / "searched" / searched)]) == 0
    assert "levers cudnn_search" in " ".join(capsys.readouterr().out.split())


def test_the_search_is_on_for_its_run_alone() -> None:
    for before in (False, True):
        with torch.backends.cudnn.flags(benchmark=before):
            with pytest.raises(InterruptedError), levers.searching(runtime("cudnn_search")):
                assert torch.backends.cudnn.benchmark
                raise InterruptedError
            assert torch.backends.cudnn.benchmark == before
            with levers.searching(runtime()):
                assert not torch.backends.cudnn.benchmark
            assert torch.backends.cudnn.benchmark == before


def test_runs_that_take_turns_search_each_for_itself() -> None:
    turns, found = Turns(), {0: list[bool](), 1: list[bool](), 2: list[bool]()}

    def lane(number: int) -> None:
        on = ["cudnn_search"] if number == 1 else []
        with turns.taken_by_a_run(), levers.searching(runtime(*on)):
            for _ in range(10 * (number + 1)):  # the run that searches is neither the first nor the last to end
                yield_turn()
                found[number].append(torch.backends.cudnn.benchmark)

    threads = [Thread(target=lane, args=(number,)) for number in found]
    with torch.backends.cudnn.flags(benchmark=False):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert {number: set(seen) for number, seen in found.items()} == {0: {False}, 1: {True}, 2: {False}}
        assert not torch.backends.cudnn.benchmark


# ---------------------------------------------------------------------------------------------------------- rows_in_graph


@GPU
@pytest.mark.parametrize("words", ["method=erm", "method=cmo", "method=paco", "method=crt", "method=meta_weight_net"])
def test_a_captured_step_that_gathers_its_images_has_the_bits_of_one_that_receives_them(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one stream and two, one stage and two, full batches and smaller last ones."""
    copied: set[tuple[torch.dtype, int]] = set()
    replay = Graph.replay

    def watched(self: Graph, streams: Streams) -> None:
        copied.update((tensor.dtype, tensor.dim()) for batch in self.streams.values() for tensor in batch.tensors())
        replay(self, streams)

    recipe = bound(small(composed(words), epochs=6))
    with imagined_cuda():
        expected = on_device(recipe, tmp_path / "plain")
        monkeypatch.setattr(Graph, "replay", watched)
        found = on_device(recipe, tmp_path / "lever", levers=["rows_in_graph"])
    assert not differing(found, expected)
    assert copied == {(torch.int64, 1)}, "row numbers alone are copied in"


@GPU
def test_streamed_images_are_copied_in_as_without_the_lever(tmp_path: Path) -> None:
    class Decoded(Resident):
        def open(self, rows: Sequence[Tensor], late: bool = False, cuts: object = None) -> Iterator[Batch]:
            return super().open(rows)

    recipe, (train, _) = bound(small(composed(), epochs=6)), digits()
    with imagined_cuda():
        store = Decoded(train.images.to(DEVICE), train.targets.to(DEVICE))
        found = on_device(recipe, tmp_path / "lever", train_set=store, levers=["rows_in_graph"])
        expected = on_device(recipe, tmp_path / "plain")
    assert not differing(found, expected)


@pytest.mark.slow
def test_inductor_traces_a_step_that_gathers_its_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ltrun.engine.step, "BACKEND", "eager")
    torch.compiler.reset()
    recipe, warned = bound(small(composed("method=cmo"), epochs=1)), list[str]()
    made = trainer(recipe, tmp_path / "lever", warn=warned.append, compile=True, levers=["rows_in_graph"])
    found = snapshot(made.run())
    torch.compiler.reset()
    assert warned == [] and not differing(found, snapshot(trainer(recipe, tmp_path / "plain", compile=False).run()))


# ------------------------------------------------------------------------------------------------- levers of the network


def test_a_network_is_changed_by_the_chosen_levers_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[tuple[str, nn.Module]] = []

    class Module:
        def __init__(self, name: str) -> None:
            self.name = name

        def use(self, network: nn.Module) -> None:
            used.append((self.name, network))

    monkeypatch.setattr(levers, "import_module", Module)
    network = nn.Identity()
    levers.use(network, runtime("joint_casts", "cudnn_search", "norm_relu_kernel", "joint_casts"))
    assert used == [("ltrun.kernels.norm_relu", network), ("ltrun.kernels.casts", network)]
    used.clear()
    levers.use(network, runtime())
    assert used == []
