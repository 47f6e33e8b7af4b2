"""Frames of a video: evenly spaced as the authors' code takes them, or drawn and sorted."""

import numpy as np
import pytest
import torch

from ltrun.augmentation import RandomFrames
from ltrun.data.crop import uniform
from ltrun.data.frames import RandomFrames as Draw
from ltrun.data.frames import evenly
from ltrun.errors import ConfigError, TrainingError
from ltrun.types import Batch, Labels


@pytest.mark.parametrize(
    ("frames", "count", "wanted"),
    [
        (1, 4, [0, 0, 0, 0]),
        (3, 5, [0, 0, 1, 1, 2]),  # 0, .5, 1, 1.5, 2: fewer frames than asked repeat
        (10, 4, [0, 3, 6, 9]),
        (11, 4, [0, 3, 6, 10]),
        (5, 1, [0]),
        (7, 7, [0, 1, 2, 3, 4, 5, 6]),
    ],
)
def test_even_frames(frames: int, count: int, wanted: list[int]) -> None:
    assert evenly(frames, count).tolist() == wanted


def test_150_frames_end_with_the_last() -> None:
    for frames in range(1, 400):
        rows = evenly(frames, 150)
        assert rows[0] == 0 and rows[-1] == frames - 1 and (np.diff(rows) >= 0).all()


def test_drawn_frames_are_sorted_uniform_and_of_the_video() -> None:
    rows = np.array([Draw(60).rows(7, draws) for draws in uniform(np.arange(500, dtype=np.uint64), 60)])
    assert (np.diff(rows, axis=1) >= 0).all()
    counts = np.bincount(rows.flatten(), minlength=7)
    assert len(counts) == 7 and abs(counts / counts.sum() - 1 / 7).max() < 0.01
    largest = np.full(60, 1 - 2.0**-53)
    assert all(Draw(60).rows(frames, largest).max() == frames - 1 for frames in range(1, 5000))


def test_videos_in_memory_are_drawn_on_the_device() -> None:
    videos = torch.arange(9.0).repeat(4, 1)[:, :, None].expand(4, 9, 2)
    batch = Batch(videos, Labels.hard(torch.arange(4)), torch.arange(4))
    torch.manual_seed(0)
    found = RandomFrames(20)(batch).inputs
    assert found.shape == (4, 20, 2) and (found.diff(dim=1) >= 0).all() and not torch.equal(found[0], found[1])
    with pytest.raises(TrainingError, match=r"frames of videos .*, got inputs of \(4, 9\)"):
        RandomFrames(20)(batch.replace(inputs=videos[:, :, 0]))
    with pytest.raises(ConfigError, match="frames must be at least 1, got 0"):
        RandomFrames(0)
