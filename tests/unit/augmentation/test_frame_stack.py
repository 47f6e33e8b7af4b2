"""FrameStack: the authors' rule of frames and labels, and the precisions that it learns while training."""

import numpy as np
import pytest
import torch
from torch import Tensor

from ltrun.augmentation import FrameStack, Mixup
from ltrun.augmentation.frame_stack import BINS, REACH, binned_precision, partner_shares, stacked
from ltrun.errors import ConfigError, TrainingError
from ltrun.tasks.average_precision import average_precision
from ltrun.types import Batch, ClassStats, Clock, MultiHot, Outputs
from tests.support.cases import blind_view
from tests.support.narrow import of_type

CLASSES, SIZE, FRAMES = 5, 12, 9


def made(seed: int = 0) -> Batch:
    """Videos whose features tell row and frame."""
    generator = torch.Generator().manual_seed(seed)
    hot = (torch.rand(SIZE, CLASSES, generator=generator) < 0.4).float()
    hot[3] = 0  # no label
    inputs = torch.stack(torch.meshgrid(torch.arange(SIZE), torch.arange(FRAMES), indexing="ij"), dim=2).float()
    return Batch(inputs, MultiHot(hot), torch.arange(SIZE))


def after_an_epoch(ratio: float = 0.5) -> FrameStack:
    part = FrameStack(ratio, num_classes=CLASSES)
    part.active.fill_(True)
    part.precision.copy_(torch.tensor([0.9, 0.5, 0.0, 0.2, 0.4]))
    return part


def by_the_authors_rule(batch: Batch, partner: list[int], precision: Tensor) -> tuple[Tensor, Tensor]:
    """Their arithmetic, one video at a time, in NumPy."""
    hot = of_type(MultiHot, batch.targets).hot.numpy()
    mean = (hot[: len(partner)] * precision.numpy()).mean(axis=1)
    videos, labels = [], []
    for i, j in enumerate(partner):
        beta = np.float32(0.5) if mean[i] + mean[j] < 1e-5 else mean[i] / (mean[i] + mean[j])
        theirs = int(beta * FRAMES)
        frames = [np.linspace(0, FRAMES - 1, count).astype(int) for count in (theirs, FRAMES - theirs)]
        videos.append(torch.cat([batch.inputs[j][frames[0]], batch.inputs[i][frames[1]]]))
        labels.append(torch.from_numpy((1 - beta) * hot[i] + beta * hot[j]))
    return torch.stack(videos), torch.stack(labels)


def test_videos_and_labels_follow_the_authors_rule() -> None:
    part, batch = after_an_epoch(), made()
    torch.manual_seed(3)
    found = part({"main": batch})["main"]
    torch.manual_seed(3)
    partner = torch.rand(SIZE // 2).argsort().tolist()
    videos, labels = by_the_authors_rule(batch, partner, part.precision)
    hot = of_type(MultiHot, found.targets).hot
    assert torch.equal(found.inputs[: SIZE // 2], videos)
    torch.testing.assert_close(hot[: SIZE // 2], labels.float())
    assert torch.equal(found.inputs[SIZE // 2 :], batch.inputs[SIZE // 2 :]), "the other half is not mixed"
    assert torch.equal(hot[SIZE // 2 :], of_type(MultiHot, batch.targets).hot[SIZE // 2 :])


@pytest.mark.parametrize("frames", [1, 2, 60])
def test_frames_are_spaced_as_numpy_spaces_them(frames: int) -> None:
    share = torch.linspace(0, 1, 121)
    other, evenly = stacked(share, frames)
    for theirs, places, numbers in zip((share * frames).long().tolist(), other, evenly, strict=True):
        wanted = [np.linspace(0, frames - 1, count).astype(int) for count in (theirs, frames - theirs)]
        assert places.sum() == theirs and numbers.tolist() == np.concatenate(wanted).tolist()


def test_the_worse_recognised_video_gives_more_frames() -> None:
    hot = torch.eye(3)
    share = partner_shares(torch.tensor([0.9, 0.3, 0.0]), hot, torch.tensor([1, 0, 2]))
    torch.testing.assert_close(share, torch.tensor([0.75, 0.25, 0.5]))


def test_the_first_epoch_is_not_mixed_and_the_next_knows_the_precisions() -> None:
    part, batch = FrameStack(num_classes=CLASSES), made()
    part.adapt(blind_view(Clock("train", 0, 3), ClassStats(torch.ones(CLASSES, dtype=torch.int64))))
    plain = part({"main": batch})["main"]
    assert torch.equal(plain.inputs, batch.inputs)
    assert torch.equal(of_type(MultiHot, plain.targets).hot, of_type(MultiHot, batch.targets).hot)
    logits = torch.randn(200, CLASSES, generator=torch.Generator().manual_seed(1))
    hot = (torch.rand(200, CLASSES, generator=torch.Generator().manual_seed(2)) < logits.sigmoid()).float()
    hot[:, 4] = 0
    mixed = torch.full((50, CLASSES), 0.5)
    for rows in (slice(0, 120), slice(120, 200)):
        targets = MultiHot(torch.cat([hot[rows], mixed]))
        scores = torch.cat([logits[rows], torch.full_like(mixed, 9.0)])
        part.after_step({"main": Outputs(logits=scores)}, {"main": Batch(scores, targets, torch.arange(len(scores)))})
    part.adapt(blind_view(Clock("train", 1, 3), ClassStats(torch.ones(CLASSES, dtype=torch.int64))))
    wanted = torch.tensor([average_precision(logits[:, c], hot[:, c].bool()) for c in range(4)])
    assert part.active and part.precision[4] == 0 and part.counts.sum() == 0
    torch.testing.assert_close(part.precision[:4], wanted, atol=0.01, rtol=0)


def test_precisions_of_bins_are_exact_where_no_scores_share_one() -> None:
    positive, every = torch.zeros(2, BINS), torch.zeros(2, BINS)
    every[0, [5, 9, 700, 701]] = 1
    positive[0, [9, 701]] = 1  # from above: hit, miss, hit, miss
    every[1, 3], positive[1, 3] = 4, 1  # four rows with one score, one of them positive
    torch.testing.assert_close(binned_precision(positive, every), torch.tensor([(1 + 2 / 3) / 2, 0.25]))


def test_extreme_logits_fall_into_the_last_bins() -> None:
    part = FrameStack(num_classes=1)
    logits = torch.tensor([[-1e9], [1e9], [-REACH], [REACH]])
    batch = Batch(logits, MultiHot(torch.ones(4, 1)), torch.arange(4))
    part.after_step({"main": Outputs(logits=logits)}, {"main": batch})
    assert part.counts[:, 0].tolist() == part.counts[:, -1].tolist() == [2, 2]


def test_refusals() -> None:
    with pytest.raises(ConfigError, match="ratio must be a share of the batch, above 0 and at most 1, got 0"):
        FrameStack(0, num_classes=2)
    images = made().replace(inputs=torch.zeros(SIZE, 3, 8, 8))
    with pytest.raises(TrainingError, match=r"FrameStack joins frames of videos .*, got inputs of \(12, 3, 8, 8\)"):
        after_an_epoch()({"main": images})


def test_mixup_mixes_whole_videos() -> None:
    batch = made()
    torch.manual_seed(0)
    found = Mixup(1.0)({"main": batch})["main"]
    row, frame = found.inputs.unbind(2)
    torch.testing.assert_close(frame, torch.arange(FRAMES).float().expand(SIZE, FRAMES))
    assert (row == row[:, :1]).all() and not (row == batch.inputs[..., 0]).all()
