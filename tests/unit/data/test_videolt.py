"""VideoLT: the store of features, loose or packed, and what its folder may lack."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ltrun.augmentation import RandomFrames, RandomResizedCrop
from ltrun.data import Features, InFloat32, VideoLT
from ltrun.data.crop import drawn, uniform
from ltrun.data.frames import RandomFrames as Draw
from ltrun.data.frames import evenly
from ltrun.data.identity import Listing
from ltrun.data.source import Splits
from ltrun.data.video_pack import pack
from ltrun.engine.cuts import cut_while_decoding
from ltrun.errors import ConfigError, DataError
from ltrun.types import MultiHot
from tests.support.data_fakes import CPU
from tests.support.narrow import of_type, present
from tests.support.videos import NAMES, WIDTH, make_videos

pytestmark = pytest.mark.usefixtures("own_cache")
PLAN = [torch.tensor([0, 5, 0]), torch.tensor([3, 1])]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_videos(tmp_path / "videos", val=6)


def opened(root: Path, **arguments: object) -> Splits:
    return VideoLT(str(root), **arguments).open(CPU)  # type: ignore[arg-type]


def train_of(root: Path, **arguments: object) -> Features:
    return of_type(Features, opened(root, **arguments).train)


def inputs(store: Features, seed: int | None = None) -> list[Tensor]:
    cuts = None if seed is None else drawn(Draw(10), seed, PLAN)
    return [batch.inputs for batch in store.open(PLAN, cuts=cuts)]


def packed(root: Path, dtype: str = "float32") -> Path:
    folder = root.parent / dtype
    pack(VideoLT(str(root)).found().videos, folder, np.dtype(dtype))
    return folder


def test_the_splits_hold_the_videos_and_labels_of_the_lists(root: Path) -> None:
    splits = opened(root, frames=20)
    assert (splits.names, len(splits.train), len(present(splits.val)), len(splits.test)) == (NAMES, 34, 6, 20)
    assert splits.input_shape == (20, WIDTH)
    assert splits.train.files[0] == "train_000.npy" and splits.test.files[3] == "test_003.npy"
    lines = [line.split() for line in (root / "test.lst").read_text().splitlines()]
    hot = of_type(MultiHot, splits.test.targets).hot
    assert [row.nonzero()[:, 0].tolist() for row in hot] == [[int(label) for label in line[1].split(",")] for line in lines]
    counts = [int(line.split()[2].split(".")[0]) for line in (root / "count-labels-train.lst").read_text().splitlines()]
    assert splits.stats.counts.tolist() == counts and splits.stats.images == 34
    assert splits.notes[0].startswith(f"features of {WIDTH} numbers, float32; ") and len(splits.notes) == 1


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_evaluation_reads_even_frames_and_training_the_drawn_ones(root: Path, workers: int) -> None:
    store = train_of(root, frames=7, workers=workers)
    for plan, found in zip(PLAN, inputs(store), strict=True):
        for row, video in zip(plan.tolist(), found, strict=True):
            whole = np.load(root / store.files[row])
            assert torch.equal(video, torch.from_numpy(whole[evenly(len(whole), 7)]))
    cuts = drawn(Draw(10), 5, PLAN)
    for plan, found, draws in zip(PLAN, inputs(store, 5), cuts, strict=True):
        for row, video, numbers in zip(plan.tolist(), found, uniform(draws.keys, 10), strict=True):
            whole = np.load(root / store.files[row])
            assert torch.equal(video, torch.from_numpy(whole[Draw(10).rows(len(whole), numbers)]))
    assert not torch.equal(inputs(store, 6)[1], inputs(store, 5)[1]), "another seed draws other frames"
    batch = next(store.open([torch.tensor([5])], cuts=drawn(Draw(10), 5, [torch.tensor([5])])))
    assert torch.equal(batch.inputs[0], inputs(store, 5)[0][1]), "the frames of a row depend on no other row"


def test_a_video_drawn_twice_in_an_epoch_shows_other_frames(root: Path) -> None:
    plan = [torch.tensor([5, 5])]
    (batch,) = train_of(root).open(plan, cuts=drawn(Draw(30), 0, plan))
    assert not torch.equal(*batch.inputs)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_packed_videos_give_the_same_batches(root: Path, dtype: str) -> None:
    loose, folder = train_of(root), packed(root, dtype)
    for form in ("list", "folder"):
        lists = make_videos(root.parent / form, val=6, form=form)
        store = train_of(folder, lists=str(lists))
        for seed in (None, 5):
            for found, wanted in zip(inputs(store, seed), inputs(loose, seed), strict=True):
                assert found.dtype == getattr(torch, dtype) and torch.equal(found, wanted.to(found.dtype))
                assert InFloat32()(found).dtype == torch.float32
    same = Listing.of(opened(root)).data["digest"] == Listing.of(opened(folder, lists=str(root))).data["digest"]
    assert same == (dtype == "float32"), "a run goes on with packed features of the same type alone"


def test_missing_features_are_counted_and_refused_above_the_limit(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    for row in (3, 7):
        (root / f"train_{row:03}.npy").unlink()
    with pytest.raises(DataError, match=r"2 of the 34 videos of .*train\.lst are missing \(train_003\.npy, train_007\.npy\)"):
        opened(root)
    with pytest.raises(DataError, match=r"leave them out with dataset\.missing=2"):
        opened(root, missing=0.05)
    splits = opened(root, missing=2)
    assert len(splits.train) == 32 and splits.train.files[3] == "train_004.npy"
    assert "2 of the 34 videos" in caplog.text
    assert any("2 videos of" in note and "have no features" in note for note in splits.notes)


def test_notes_name_classes_without_videos_and_foreign_counts(root: Path) -> None:
    (root / "test.lst").write_text("test_000 0\ntest_001 1,2\n")
    (root / "count-labels-train.lst").write_text("".join(f"{name} {label} 2\n" for label, name in enumerate(NAMES)))
    notes = opened(root).notes
    assert any(note.startswith("class rain has ") and note.endswith("2 in the file of names") for note in notes)
    assert "2 classes have no test video: chess, ski" in notes


def test_classes_without_names_are_numbers(root: Path) -> None:
    (root / "count-labels-train.lst").unlink()
    assert opened(root).names == tuple("01234")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"missing": -1}, "missing must be a number of images"),
        ({"frames": 0}, "frames must be from 1 to 10,000, got 0"),
        ({"workers": -1}, "workers must be from 0 to"),
    ],
)
def test_bad_arguments(arguments: dict[str, int], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        VideoLT("x", **arguments)  # type: ignore[arg-type]


def test_a_folder_that_lacks_something_says_what(root: Path) -> None:
    with pytest.raises(DataError, match=r"holds no features .* dataset\.features=NAME"):
        opened(root, features="ResNet101-feature")
    (root / "test.lst").rename(root / "kept")
    with pytest.raises(DataError, match=r"has no list of test videos \(test\.lst, test_videofolder\.txt\)"):
        opened(root)
    (root / "kept").rename(root / "test.lst")
    with pytest.raises(DataError, match=r"both name 34 videos, such as train_000: a video belongs into one of them"):
        opened(root, test="train.lst")
    np.save(root / "test_004.npy", np.zeros((3, WIDTH + 1), dtype=np.float32))
    with pytest.raises(DataError, match=r"test_004\.npy holds features of 17 numbers, and .*train_000\.npy holds 16"):
        opened(root)


def test_features_in_a_folder_of_one_network(root: Path) -> None:
    (root / "TSM").mkdir()
    for file in root.glob("*.npy"):
        file.rename(root / "TSM" / file.name)
    assert len(opened(root, features="TSM").train) == 34
    (root / "TSM").rename(root / "features")
    assert len(opened(root).train) == 34


def test_frames_are_drawn_where_the_videos_are_read(root: Path) -> None:
    store, frames = train_of(root), RandomFrames(10)
    assert cut_while_decoding([frames], store) == (frames.crop, [])
    with pytest.raises(ConfigError, match="RandomResizedCrop takes parts of photographs, and this data set holds videos"):
        cut_while_decoding([RandomResizedCrop(16)], store)


def test_an_epoch_given_up_midway_leaves_no_thread_behind(root: Path) -> None:
    batches = train_of(root, workers=2).open([torch.tensor([row]) for row in range(30)])
    next(batches)
    batches.close()  # type: ignore[attr-defined]
