"""Captures on an imagined GPU: they stop no other run, a failed one leaves no trace, and a run resumes on either device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from torch import Tensor

from ltrun.contracts.device import on_device, on_host
from ltrun.contracts.imagined import MEMORY, Mode, Tape, imagined_cuda
from ltrun.engine.checkpoint import Checkpoints
from ltrun.engine.step import Step, captured
from ltrun.engine.turns import Turns
from ltrun.parts import Term
from ltrun.recipe.stage import Recipe
from ltrun.types import Outputs, Streams
from tests.support.cases import CPU, bound, changed, composed, differing, small
from tests.support.lanes import in_lanes

HERE = __name__
EPOCHS = 6
pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a real CUDA device, which test_step.py uses")


@pytest.fixture(autouse=True)
def unspoilt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Step, "spoilt", False)


class Shy(Term):
    """Waits for the device in captured steps alone, so that a capture fails midway."""

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        logits = outputs["main"].logits
        assert logits is not None
        if logits.is_cuda and torch.cuda.is_current_stream_capturing():
            logits.sum().item()
        return logits.square().mean()


def recipe_of(*words: str, shy: bool = False) -> Recipe:
    composition = small(composed(*words), epochs=EPOCHS)
    terms = {"own": {"part": {"_target_": f"{HERE}.Shy"}}}
    return bound(changed(composition, representation__terms=terms) if shy else composition, ("tests",))


def stop_after(epoch: int) -> Callable[[Mapping[str, Any]], None]:
    def stop(row: Mapping[str, Any]) -> None:
        if row["epoch"] == epoch:
            raise InterruptedError

    return stop


# -------------------------------------------------------------------------------------------------------- the captures


def test_a_capture_neither_waits_for_the_device_nor_empties_its_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both would stop every other run on the device."""
    tapes: list[Tape] = []
    stopped: list[str] = []

    class Noted(Tape):
        def __init__(self) -> None:
            super().__init__()
            tapes.append(self)

    with imagined_cuda():
        monkeypatch.setattr(torch.cuda, "CUDAGraph", Noted)
        for name in ("synchronize", "empty_cache"):
            monkeypatch.setattr(torch.cuda, name, lambda *_, name=name: stopped.append(name))
        on_device(recipe_of("method=erm"), tmp_path)
        assert stopped == []
        assert len(tapes) == 2 and tapes[0].pool() is tapes[1].pool(), "full and last batches share the memory of graphs"
        assert not Step.spoilt
        monkeypatch.undo()


@pytest.mark.parametrize("free", [0.4, 0.6])
def test_the_cache_is_emptied_before_a_capture_for_which_there_is_no_memory(
    free: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    emptied: list[bool] = []
    with imagined_cuda():
        one = torch.ones(2, device="cuda:0")
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (int(free * MEMORY), MEMORY))
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: MEMORY // 2)
        monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(torch.cuda.is_current_stream_capturing()))
        graph = captured(lambda: one.add_(1))
        assert one.tolist() == [1, 1], "a capture computes nothing"
        graph.replay()
        assert one.tolist() == [2, 2]
        monkeypatch.undo()
    assert emptied == ([False] if free < 0.5 else [])


# -------------------------------------------------------------------------------------------------------- failed captures


def test_a_capture_that_fails_midway_leaves_no_trace_but_spoils_the_process(tmp_path: Path) -> None:
    warned: list[str] = []
    with imagined_cuda():
        found = on_device(recipe_of(shy=True), tmp_path / "device", warn=warned.append)
    assert len(warned) == 1 and "Shy cannot be compiled or captured" in warned[0] and "_local_scalar_dense makes" in warned[0]
    assert not differing(found, on_host(recipe_of(shy=True), tmp_path / "host"))
    assert Step.spoilt


def test_a_lane_whose_capture_fails_changes_no_other_lane(tmp_path: Path) -> None:
    recipes = {"shy": recipe_of(shy=True), **{name: recipe_of(f"method={name}") for name in ("crt", "paco")}}
    warned: list[str] = []
    found = in_lanes(recipes, tmp_path / "device", warn=warned.append)
    assert len(warned) == 1 and "Shy" in warned[0]
    for name, recipe in recipes.items():
        assert not differing(found[name], on_host(recipe, tmp_path / "host" / name)), name


def test_a_run_resumes_after_a_failed_capture(tmp_path: Path) -> None:
    warned: list[str] = []
    with imagined_cuda():
        with pytest.raises(InterruptedError):
            on_device(recipe_of(shy=True), tmp_path / "device", warn=warned.append, report=stop_after(4))
        found = on_device(recipe_of(shy=True), tmp_path / "device", warn=warned.append)
    assert len(warned) == 2, "one capture for each start"
    assert not differing(found, on_host(recipe_of(shy=True), tmp_path / "host"))


# ---------------------------------------------------------------------------------------------------------------- resume


@pytest.mark.parametrize("method", ["ldam_drw", "crt", "paco"])
@pytest.mark.parametrize("begins_on_the_device", [True, False])
def test_a_run_resumes_on_another_device(method: str, begins_on_the_device: bool, tmp_path: Path) -> None:
    recipe = recipe_of(f"method={method}")
    stop = stop_after(4)
    with imagined_cuda():
        if begins_on_the_device:
            with pytest.raises(InterruptedError):
                on_device(recipe, tmp_path / "both", report=stop)
    if begins_on_the_device:
        found = on_host(recipe, tmp_path / "both")
    else:
        with pytest.raises(InterruptedError):
            on_host(recipe, tmp_path / "both", report=stop)
        with imagined_cuda():
            found = on_device(recipe, tmp_path / "both")
    assert Checkpoints(tmp_path / "both").load(CPU, pytest.fail) is not None
    assert not differing(found, on_host(recipe, tmp_path / "host"))


def test_lanes_that_are_interrupted_resume(tmp_path: Path) -> None:
    methods = ["cmo", "ldam_drw"]
    recipes = {method: recipe_of(f"method={method}") for method in methods}
    found: dict[str, dict[str, Tensor]] = {}

    def lane(turns: Turns, method: str, **more: Any) -> None:
        with Mode(), turns.taken_by_a_run():
            try:
                found[method] = on_device(recipes[method], tmp_path / "device" / method, **more)
            except InterruptedError:
                found[method] = {}

    def together(**more: Any) -> None:
        turns = Turns()
        threads = [Thread(target=lane, args=(turns, method), kwargs=more) for method in methods]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    with imagined_cuda():
        together(report=stop_after(5))
        assert found == {method: {} for method in methods}
        together()
    for method, recipe in recipes.items():
        assert not differing(found[method], on_host(recipe, tmp_path / "host" / method)), method
