"""Runs on made videos: they learn, resume bit for bit, and read the same frames on two ranks and from a packed file."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from ltrun.config.settings import Settings
from ltrun.contracts.presets import Fragile, Stop, comparable
from ltrun.data import VideoLT
from ltrun.data.video_pack import pack
from ltrun.engine.checkpoint import Checkpoints
from ltrun.engine.context import RunContext
from ltrun.engine.predictors import evaluate
from ltrun.engine.stage import Row
from ltrun.engine.trainer import Trainer
from ltrun.recipe.read import recipe_of
from tests.support.cases import CPU, composed, differing, snapshot
from tests.support.videos import make_videos

SMALL = ["dataset=videolt", "batch_size=16", "network.hidden=32", "optimizer.lr=0.01", "dataset.frames=20"]
SMALL += ["dataset.augments.frames.frames=8", "runtime.checkpoint_seconds=0", "evaluation.every=2", "runtime.threads=1"]
Trained = tuple[dict[str, torch.Tensor], list[Row]]
PRESETS = ["framestack", "square_root_masked_sampling"]


def run(root: Path, folder: Path, preset: str, epochs: int = 4, fragile: bool = False, **dataset: object) -> Trained:
    """Trains a preset. fragile: stops after each checkpoint, and begins anew."""
    own = [f"dataset.{name}={value}" for name, value in dataset.items()]
    config, choices = composed(f"method={preset}", f"epochs={epochs}", f"dataset.root={root}", *SMALL, *own)
    recipe, rows = recipe_of(config, choices), list[Row]()
    while True:
        context = RunContext.open(Settings.of(config), recipe, CPU, lambda sentence: None)
        checkpoints = (Fragile if fragile else Checkpoints)(folder)
        trainer = Trainer(recipe, context, checkpoints, partial(evaluate, context=context), rows.append)
        try:
            return snapshot(trainer.run()), rows
        except Stop:
            assert len(rows) <= epochs


@pytest.mark.parametrize("preset", PRESETS)
def test_a_stopped_run_ends_as_an_unstopped_one(preset: str, tmp_path: Path) -> None:
    root = make_videos(tmp_path / "videos")
    (whole, rows), (broken, again) = (run(root, tmp_path / str(fragile), preset, fragile=fragile) for fragile in (False, True))
    assert not differing(whole, broken)
    assert comparable(rows) == comparable(again)


def test_packed_videos_train_the_same_network(tmp_path: Path) -> None:
    root = make_videos(tmp_path / "videos")
    pack(VideoLT(str(root)).found().videos, tmp_path / "packed", np.dtype("float32"))
    loose, _ = run(root, tmp_path / "loose", "framestack")
    packed, _ = run(tmp_path / "packed", tmp_path / "other", "framestack", lists=root)
    assert not differing(loose, packed)


@pytest.mark.parametrize("preset", ["framestack", "class_balanced_masked_sampling", "mixup"])
def test_presets_learn_the_classes(preset: str, tmp_path: Path) -> None:
    _, rows = run(make_videos(tmp_path / "videos", train=120, test=60), tmp_path / "run", preset, epochs=8)
    found = rows[-1]["evaluation"]["test"]
    assert found["map"] > 0.7 and found["map_videolt"] > 0.7, "a constant score has about 0.35"
