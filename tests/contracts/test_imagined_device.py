"""Runs on an imagined GPU: they give the bits of a CPU, with captured steps as with eager ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from ltrun.cli import dispatch
from ltrun.contracts.device import EPOCHS, device_has_the_bits_of_the_host, on_device, on_host
from ltrun.contracts.imagined import DEVICE, Imagined, imagined_cuda
from ltrun.engine.checkpoint import Checkpoints
from ltrun.engine.turns import Turns, yield_turn
from ltrun.metrics import MULTI_LABEL
from ltrun.parts import Term
from ltrun.recipe.stage import Recipe
from ltrun.types import Outputs, Streams
from tests.support.cases import METHODS, Composed, bound, changed, composed, differing, presets_of, small
from tests.support.lanes import in_lanes
from tests.support.walks import drawn

HERE = __name__
pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a real CUDA device, which test_step.py uses")


def mine(composition: Composed) -> Recipe:
    return bound(composition, ("tests",))


WORDS = [(f"method={method}",) for method in METHODS] + [
    *((f"resampling={option}",) for option in ("power", "reversed")),
    *((f"augmentation={option}",) for option in ("cutout", "simclr")),
    *((f"reweighting={option}",) for option in ("focal_class_weighted", "generalized_reweighting", "influence_balanced_focal")),
    *((f"logit_adjustment={option}",) for option in ("deferred_balanced_softmax", "deferred_cdt")),
]


SCENES = [tuple(f"method={preset}".split()) for preset in presets_of(MULTI_LABEL, 4)]


@pytest.mark.parametrize("words", dict.fromkeys([*drawn(WORDS, 12), *drawn(SCENES, 4)]), ids=" ".join)
def test_every_preset_gives_the_same_bits_on_the_device_and_the_host(words: tuple[str, ...], tmp_path: Path) -> None:
    """In six epochs full and last batches are captured and replayed; no step waits for the device and none warns."""
    device_has_the_bits_of_the_host(bound(small(composed(*words), epochs=EPOCHS)), tmp_path)


@pytest.mark.parametrize("method", ["erm", "crt", "paco", "meta_weight_net", "difficulty_sampling"])
def test_a_run_on_the_device_resumes_from_its_checkpoint(method: str, tmp_path: Path) -> None:
    recipe = bound(small(composed(f"method={method}"), epochs=6))

    def stop(row: Mapping[str, Any]) -> None:
        if row["epoch"] == 2:
            raise InterruptedError

    with imagined_cuda():
        with pytest.raises(InterruptedError):
            on_device(recipe, tmp_path / "device", report=stop)
        found = on_device(recipe, tmp_path / "device")
    assert not differing(found, on_host(recipe, tmp_path / "host"))


def test_runs_that_share_the_device_give_the_bits_of_the_host(tmp_path: Path) -> None:
    methods = ["cmo", "crt", "paco", "meta_weight_net"]
    recipes = {method: bound(small(composed(f"method={method}"), epochs=6)) for method in methods}
    found = in_lanes(recipes, tmp_path / "device")
    for method, recipe in recipes.items():
        assert not differing(found[method], on_host(recipe, tmp_path / "host" / method)), method


# ------------------------------------------------------------------------------------------------------- whole commands

COMMANDS = [
    ("method=erm", "posthoc=[tau_norm_sweep,logit_adjustment_sweep,ncm,pc_softmax,effective_prior,label_shift_em,uno_ic]"),
    ("method=sade",),
    ("method=deconfound_tde",),
    ("method=crt", "selection=best_val", "dataset.validation_per_class=2"),
]


@pytest.mark.parametrize("words", COMMANDS)
def test_a_command_gives_the_same_results_on_the_device_and_the_host(
    words: tuple[str, ...], tmp_path: Path, capsys: Any
) -> None:
    """Runs a whole command up to predictions.npz, with evaluation and post-hoc parts."""
    short = ["dataset=digits_lt", "epochs=6", "network.depth=8", "evaluation.every=2", "evaluation.batch_size=250", *words]

    def results(device: str) -> tuple[Any, dict[str, Any]]:
        assert dispatch([*short, f"outputs={tmp_path / device[:4]}", f"runtime.device={device}"]) == 0
        (record,) = (tmp_path / device[:4]).rglob("result.json")
        return json.loads(record.read_text()), dict(np.load(record.with_name("predictions.npz")))

    with imagined_cuda():
        record, scores = results(str(DEVICE))
    assert "runtime.compile" not in capsys.readouterr().out
    expected, expected_scores = results("cpu")
    assert record["predictors"] == expected["predictors"] and record["provenance"]["device"] == "imagined"
    assert scores.keys() == expected_scores.keys()
    assert all(np.array_equal(scores[name], expected_scores[name]) for name in scores)


# ----------------------------------------------------------------------------------------- faults that the device detects


class Impatient(Term):
    """Reads its value on the host."""

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        assert outputs["main"].logits is not None
        return outputs["main"].logits.square().mean() * (1.0 if outputs["main"].logits.sum().item() > 0 else 2.0)


class Homesick(Term):
    """Keeps a tensor on the host, because the tensor is not a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = [torch.ones(10)]

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        assert outputs["main"].logits is not None
        return (outputs["main"].logits * self.weights[0]).square().mean()


class Counting(Term):
    """Counts its steps in a Python number, which a captured step freezes."""

    steps = 0

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        assert outputs["main"].logits is not None
        self.steps += 1
        return outputs["main"].logits.square().mean() * self.steps


def with_term(part: type[Term]) -> Recipe:
    node = {"_target_": f"{HERE}.{part.__name__}"}
    return mine(changed(small(composed(), epochs=6), representation__terms={"own": {"part": node}}))


def test_a_part_that_waits_is_named_and_trained_eagerly(tmp_path: Path) -> None:
    warned: list[str] = []
    with imagined_cuda():
        found = on_device(with_term(Impatient), tmp_path / "device", warn=warned.append)
    assert len(warned) == 1 and "Impatient cannot be compiled or captured (_local_scalar_dense makes the host wait" in warned[0]
    assert not differing(found, on_host(with_term(Impatient), tmp_path / "host"))


def test_a_tensor_of_the_host_is_refused(tmp_path: Path) -> None:
    with imagined_cuda(), pytest.raises(RuntimeError, match="found some of the host"):
        on_device(with_term(Homesick), tmp_path)


def test_a_python_number_that_changes_gives_other_results(tmp_path: Path) -> None:
    train: Callable[..., dict[str, Tensor]] = partial(on_device, with_term(Counting))
    with imagined_cuda():
        captured, plain = train(tmp_path / "captured"), train(tmp_path / "plain", compile=False)
    assert differing(captured, plain)
    assert not differing(plain, on_host(with_term(Counting), tmp_path / "host"))


def test_a_checkpoint_is_copied_during_the_turn_of_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside its turn, another run may have set the sync debug mode, which makes copies to the host raise."""
    saved: list[bool] = []

    def save(self: Checkpoints, name: str, state: Any) -> None:
        saved.append(any(isinstance(leaf, Imagined) for leaf in tree_leaves(state)))

    monkeypatch.setattr(Checkpoints, "save", save)
    with imagined_cuda():
        on_device(bound(small(composed("method=crt"), epochs=2)), tmp_path)
    assert saved and not any(saved)


def test_a_part_that_sets_tf32_by_its_newer_name_blocks_no_other_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading the older name then raises."""
    flags, done = torch.backends.cuda.matmul.allow_tf32, list[int]()

    def lane(turns: Turns, number: int) -> None:
        with turns.taken_by_a_run():
            for _ in range(3):
                if number == 0:
                    torch.backends.cuda.matmul.fp32_precision = "tf32"
                yield_turn()
            done.append(number)

    turns = Turns()
    threads = [Thread(target=lane, args=(turns, number), daemon=True) for number in (0, 1)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert sorted(done) == [0, 1]
    finally:
        torch.backends.cuda.matmul.fp32_precision = "none"
        torch.backends.cuda.matmul.allow_tf32 = flags
