"""Resampling in training: the network trains on the drawn rows, from the configured epoch on, also after a kill."""

from pathlib import Path

import torch

from tests.end_to_end.test_resume import history, kill_when, outcome
from tests.support.commands import PROGRAM, SHORT, Run

CLASSES = 10


def test_a_deferred_sampler_starts_on_time(ltrun: Run, tmp_path: Path) -> None:
    """Repeating images raises the number of images per epoch. LDAM-DRW's code never used its sampler."""
    repeat = ["~resampling.sampler.then.q", "resampling.sampler.then._target_=ltrun.resampling.RepeatFactor"]
    repeat += ["+resampling.sampler.then.threshold=1.0", "resampling.sampler.start=0.5"]
    done = ltrun("method=drs", *SHORT, "epochs=4", *repeat)
    assert done.returncode == 0, done.stderr
    (result,) = tmp_path.rglob("result.json")
    images = [row["images"] for row in history(result.parent)]
    assert images[0] == images[1] == 409 and min(images[2:]) > 2 * 409


def test_training_steps_see_the_drawn_classes(ltrun: Run, tmp_path: Path) -> None:
    """Difficulty-driven sampling counts the images of each class in the batches; its first epoch is class-balanced."""
    done = ltrun("method=difficulty_sampling", *SHORT, "epochs=1")
    assert done.returncode == 0, done.stderr
    state, _, _ = outcome(tmp_path)
    seen = state["samplers.main.seen"]
    assert seen.shape == (CLASSES,) and seen.sum() == 409
    assert ((seen - 40.9) ** 2 / 40.9).sum() < 27.9  # chi-square, 9 degrees of freedom, 0.1 %; 366 without resampling


def test_sampler_statistics_survive_a_kill(ltrun: Run, tmp_path: Path) -> None:
    choices = ("method=difficulty_sampling", *SHORT, "epochs=4")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert ltrun(*choices, f"outputs={whole}").returncode == 0
    kill_when([*PROGRAM, *choices, f"outputs={broken}"], broken, 2)
    assert ltrun(*choices, f"outputs={broken}").returncode == 0
    (weights, rows, metrics), (weights2, rows2, metrics2) = outcome(whole), outcome(broken)
    assert all(torch.equal(weights[name], weights2[name]) for name in weights)
    assert rows == rows2 and metrics == metrics2
