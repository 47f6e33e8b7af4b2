"""A run is of the data that it was trained on: names of its test images, refusals of other data, tables that mix none."""

from pathlib import Path

import numpy as np
import pytest

from ltrun.data import stamps
from ltrun.results.address import RESULT
from tests.support.commands import Run
from tests.support.data_fakes import class_folders

PHOTOS = (
    "method=erm", "dataset=image_folder", "dataset.root=photos", "dataset.image_size=8", "network=resnet8", "batch_size=16",
    "epochs=2", "runtime.checkpoint_seconds=0", "runtime.device=cpu",
)  # fmt: skip


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    class_folders(tmp_path / "photos", {"ant": 30, "bee": 12, "cat": 6}, size=12)
    return tmp_path / "photos"


def result_of(outputs: Path) -> Path:
    (path,) = outputs.rglob(RESULT)
    return path.parent


@pytest.mark.parametrize("streamed", ["false", "true"])
def test_predictions_name_their_images(ltrun: Run, photos: Path, tmp_path: Path, streamed: str) -> None:
    done = ltrun(*PHOTOS, f"dataset.streamed={streamed}", "dataset.workers=0")
    assert done.returncode == 0, done.stderr
    with np.load(result_of(tmp_path / "outputs") / "predictions.npz", allow_pickle=False) as saved:
        names, labels, scores = (saved[key] for key in ("test_files", "test_labels", "test_scores_plain"))
    assert len(names) == len(labels) == len(scores) == 6 + 2 + 1
    for name, label in zip(names.tolist(), labels.tolist(), strict=True):
        assert (photos / name).is_file()
        assert Path(name).parent.name == ("ant", "bee", "cat")[label]


# The cache


def swap(photos: Path, one: str, other: str) -> None:
    (photos / one).rename(photos / "aside")
    (photos / other).rename(photos / one)
    (photos / "aside").rename(photos / other)


def test_verification_names_images_of_which_the_cache_held_others(
    ltrun: Run, photos: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LTRUN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(stamps, "_values", lambda _: (1, 2, 3, 4))  # a file system that shows no change
    words = ("data", "--verify", *PHOTOS[1:4])
    first = ltrun(*words)
    assert (first.returncode, "it does now" in first.stdout) == (0, True), first.stdout + first.stderr
    assert "48 images are as the cache holds them" in ltrun(*words).stdout
    swap(photos, "ant/0003.png", "bee/0001.png")
    found = ltrun(*words)
    assert found.returncode == 1
    assert "2 of 48 images were others" in found.stdout
    assert [line.strip() for line in found.stdout.splitlines()[-2:]] == ["photos/ant/0003.png", "photos/bee/0001.png"]
    assert ltrun(*words).returncode == 0, "it mends the cache"


@pytest.mark.parametrize("form", ["digits", "streamed"])
def test_verification_of_other_data(
    ltrun: Run, photos: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, form: str
) -> None:
    monkeypatch.setenv("LTRUN_CACHE", str(tmp_path / "cache"))
    words = {"digits": ("dataset=digits_lt",), "streamed": (*PHOTOS[1:4], "dataset.streamed=true")}[form]
    said = [ltrun("data", "--verify", *words).stdout for _ in range(2)][-1]
    assert {"digits": "1,797 images are as the cache holds them", "streamed": "nothing to compare"}[form] in said
