"""Presets for several labels, others for each commit, learn on a made VOCdevkit and on made features: mAP above chance."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ltrun.results.record import RunRecord
from tests.support.commands import Run
from tests.support.multi_label_trees import voc_tree
from tests.support.videos import make_videos
from tests.support.walks import drawn

ALL_IMAGES = ["erm", "distribution_balanced", "distribution_balanced_focal", "rebalanced", "rebalanced_focal", "asymmetric"]
ALL_VIDEOS = ["erm", "framestack", "class_balanced_masked_sampling", "square_root_masked_sampling", "ldam_drw"]
IMAGES, VIDEOS = drawn(ALL_IMAGES, 3), drawn(ALL_VIDEOS, 2)


def above_chance(folder: Path, number: int) -> None:
    """Checks the mAP of each run against the mean share of the images with a class, which is the mAP of a random order."""
    records = [RunRecord.load(path) for path in folder.rglob("result.json")]
    assert len(records) == number
    for record in records:
        found = record.predictors[record.headline]["splits"]["test"]
        shares = np.array([share for share in found["positives"] if share]) / found["images"]
        assert found["map"] > 1.5 * shares.mean(), (record.label, found["map"], shares.mean())


def test_presets_for_images_learn_on_a_made_vocdevkit(ltrun: Run, tmp_path: Path) -> None:
    voc_tree(tmp_path / "voc", images=160, test=60)
    words = (
        "dataset=voc_lt", "dataset.root=voc", "dataset.image_size=32", "network=resnet8", "optimizer=sgd", "schedule=sade",
        "epochs=12", "batch_size=16", "evaluation.every=12", "seed=0", "runtime.threads=1",
    )  # fmt: skip
    for given in ((f"method={','.join(IMAGES)}",), ("method=ltml", "ensemble.network.after=layer2")):
        done = ltrun("-m", *given, *words)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    above_chance(tmp_path, len(IMAGES) + 1)


def test_presets_for_videos_learn_on_made_features(ltrun: Run, tmp_path: Path) -> None:
    make_videos(tmp_path / "videos", train=80, test=40)
    done = ltrun(
        "-m", f"method={','.join(VIDEOS)}", "dataset=videolt", "dataset.root=videos", "dataset.frames=12", "network.hidden=32",
        "batch_size=16", "optimizer.lr=0.005", "epochs=15", "evaluation.every=15", "seed=0", "runtime.threads=1",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    above_chance(tmp_path, len(VIDEOS))
