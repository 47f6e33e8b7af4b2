"""Bilevel presets on the command line: resuming mid-stage, parameters of optimizer and update, refusals."""

from pathlib import Path
from typing import Any

import pytest
import torch

from ltrun.engine.checkpoint import Checkpoints
from tests.support.commands import SHORT, Run, refused


def state(root: Path) -> dict[str, Any]:
    (path,) = (result.parent for result in root.rglob("result.json"))
    (checkpoint,) = path.glob("*.pt")
    return torch.load(checkpoint, weights_only=True)


class Killed(Exception):
    pass


@pytest.mark.parametrize(("method", "saves"), [("meta_weight_net", 2), ("balms", 6)])
def test_resuming_in_the_middle_of_a_stage_is_bit_equal(
    method: str, saves: int, ltrun: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # balms trains four epochs of the joint stage and four of the classifier; the kill follows the classifier's second save
    choices = [f"method={method}", *SHORT, "epochs=4", *(["stages.classifier.fraction=1.0"] if method == "balms" else [])]
    done = ltrun(*choices, f"outputs={tmp_path / 'whole'}")
    assert done.returncode == 0, done.stderr
    save, count = Checkpoints.save, 0

    def save_then_die(self: Checkpoints, *arguments: Any) -> None:
        nonlocal count
        save(self, *arguments)
        count += 1
        if count == saves:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", save_then_die)
        assert ltrun(*choices, f"outputs={tmp_path / 'broken'}").returncode != 0
        assert count == saves and not list(tmp_path.glob("broken/**/result.json"))
    assert ltrun(*choices, f"outputs={tmp_path / 'broken'}").returncode == 0
    whole, broken = state(tmp_path / "whole"), state(tmp_path / "broken")
    assert whole["module"].keys() == broken["module"].keys()
    for name, tensor in whole["module"].items():
        assert torch.equal(tensor, broken["module"][name]), name
    for momentum, other in zip(whole["optimizer"]["momentum"], broken["optimizer"]["momentum"], strict=True):
        assert torch.equal(momentum, other)
    assert whole["module"]["update.steps"] == 4 * 13 and whole["module"]["update.mean"].any()  # Adam's state is saved too


@pytest.mark.parametrize("method", ["meta_weight_net", "balms"])
def test_the_optimizer_trains_the_network_and_the_update_the_rest(method: str, ltrun: Run, tmp_path: Path) -> None:
    assert ltrun(f"method={method}", *SHORT, f"outputs={tmp_path}").returncode == 0
    found = state(tmp_path)
    optimized = len(found["optimizer"]["momentum"])
    if method == "balms":  # the head's weight and bias
        assert optimized == 2 and found["module"]["samplers.main.logits"].any()
    else:  # seven convolutions, each with a normalisation's weight and bias, and the head's two
        assert optimized == 7 * 3 + 2


@pytest.mark.parametrize(
    ("choices", "expected"),
    [
        (["resampling=meta", "reweighting=meta_weight_net"], "both set 'update' and cannot be combined"),
        (["method=meta_weight_net", "~reweighting.update"], "reweighting=meta_weight_net has parameters that the optimizer"),
        (["method=meta_weight_net", "~reweighting.weigh"], "has an update with nothing to learn"),
        (["method=meta_weight_net", "~reweighting.streams"], "needs the stream 'meta'"),
        (["method=meta_weight_net", "reweighting.update.virtual=[nose]"], "must match a trained parameter"),
    ],
)
def test_inconsistent_bilevel_parts_are_refused(choices: list[str], expected: str, ltrun: Run, tmp_path: Path) -> None:
    assert expected in refused(ltrun(*choices, *SHORT, f"outputs={tmp_path}"))


def test_balms_gets_no_warning_of_balancing_twice(ltrun: Run, tmp_path: Path) -> None:
    assert "balances the classes" not in ltrun("method=balms", *SHORT, f"outputs={tmp_path}").stdout
    twice = ltrun("method=meta_weight_net", "logit_adjustment=balanced_softmax", *SHORT, f"outputs={tmp_path}")
    assert "balances the classes more than once: reweighting=meta_weight_net and" in twice.stdout
