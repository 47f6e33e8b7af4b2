"""Identity of a run's data: names of test images, refusals of changed data, tables that never mix data sets."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ltrun.data import ImageFolder, Splits, stamps
from ltrun.engine.checkpoint import Checkpoints
from ltrun.engine.stage import StageRun
from ltrun.engine.trainer import Trainer
from ltrun.results.address import RESULT
from ltrun.results.record import RunRecord
from ltrun.types import Clock
from tests.support.commands import Run, refused
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


# Changed data


def black(photos: Path, pattern: str = "*") -> None:
    for path in sorted(photos.rglob(f"{pattern}.png")):
        Image.new("RGB", (12, 12)).save(path)


def added(photos: Path) -> None:
    (photos / "bee" / "9999.png").write_bytes((photos / "bee" / "0000.png").read_bytes())


def renamed(photos: Path) -> None:
    (photos / "bee").rename(photos / "bug")


def swapped(photos: Path) -> None:
    """Swaps two images of different file sizes, as compressed images have."""
    Image.new("RGB", (12, 12)).save(photos / "aside.png")
    (photos / "aside.png").replace(photos / "ant" / "0000.png")
    swap(photos, "ant/0000.png", "bee/0000.png")


def removed_and_added(photos: Path) -> None:
    """Renames an image, so all class counts stay equal."""
    (photos / "cat" / "0000.png").rename(photos / "cat" / "0000x.png")


CHANGES = {
    "pixels": (black, "are changed"),
    "another image": (added, " new (bee/"),
    "another class": (renamed, "the names of the classes, or their order, differ"),
    "two labels": (swapped, " changed ("),
    "another name": (removed_and_added, "(cat/0000x.png)"),
}


@pytest.mark.parametrize("streamed", ["false", "true"])
def test_a_finished_run_is_not_reused_for_changed_data(ltrun: Run, photos: Path, tmp_path: Path, streamed: str) -> None:
    words = (*PHOTOS, f"dataset.streamed={streamed}", "dataset.workers=0")
    assert ltrun(*words).returncode == 0
    assert "done before" in ltrun(*words).stdout
    shutil.copytree(photos, tmp_path / "whole")
    for change, (make, said) in CHANGES.items():
        make(photos)
        if (streamed, change) == ("false", "another name"):  # resident data are known by pixels and labels, not by names
            assert "done before" in ltrun(*words).stdout
        else:
            sentence = refused(ltrun(*words))
            assert said in sentence, change
            assert "force=true trains it again on these" in sentence
        shutil.rmtree(photos)
        shutil.copytree(tmp_path / "whole", photos)
    black(photos)
    assert ltrun(*words, "force=true").returncode == 0
    assert "done before" in ltrun(*words).stdout


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_run_does_not_resume_on_changed_data(ltrun: Run, tmp_path: Path, split: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("train", "val", "test"):
        class_folders(tmp_path / "photos" / name, {"ant": 8, "bee": 5}, size=12, seed=len(name))
    interrupt(ltrun, monkeypatch, *PHOTOS)
    black(tmp_path / "photos" / split, "0001")
    sentence = refused(ltrun(*PHOTOS))
    title = {"train": "training", "val": "validation", "test": "test"}[split]
    assert f"of 13 {title} images 2 are changed ({split}/ant/0001.png)" in sentence
    assert "restore the data to resume, or train from scratch with force=true" in sentence
    class_folders(tmp_path / "photos" / split, {"ant": 8, "bee": 5}, size=12, seed=len(split))
    again = ltrun(*PHOTOS)
    assert again.returncode == 0, again.stderr
    assert "train 1/2" not in again.stdout, "the run did not resume"


def interrupt(ltrun: Run, monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    """Interrupts the run after its first checkpoint."""

    class Interrupted(Checkpoints):
        def save(self, name: str, state: dict[str, Any]) -> None:
            super().save(name, state)
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("ltrun.engine.run.Checkpoints", Interrupted)
        assert ltrun(*words).returncode == 130


def test_streamed_and_resident_images_are_the_same_data(ltrun: Run, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt(ltrun, monkeypatch, *PHOTOS, "dataset.streamed=true", "dataset.workers=0")
    done = ltrun(*PHOTOS, "dataset.streamed=false")
    assert done.returncode == 0, done.stderr
    assert "done before" in ltrun(*PHOTOS, "dataset.streamed=true").stdout


def test_a_streamed_run_stops_if_an_image_changes_during_training(
    ltrun: Run, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the image is restored, the run resumes from the checkpoint of the last whole epoch."""
    words = (*PHOTOS, "dataset.streamed=true", "dataset.workers=0", "epochs=3")
    path, whole = photos / "ant" / "0003.png", Trainer._epoch

    def changing(self: Trainer, running: StageRun, index: int, clock: Clock) -> None:
        if clock.epoch == 1:
            path.rename(photos / "aside")
            Image.new("RGB", (12, 12)).save(path)
        whole(self, running, index, clock)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_epoch", changing)
        sentence = refused(ltrun(*words))
    assert "photos/ant/0003.png was changed while this run read it" in sentence
    assert "of 39 training images 1 is changed (ant/0003.png)" in refused(ltrun(*words))
    (photos / "aside").rename(path)
    again = ltrun(*words)
    assert again.returncode == 0, again.stderr
    assert "train 2/3" in again.stdout and "train 1/3" not in again.stdout


@pytest.mark.parametrize("listed", [True, False])
def test_replaced_streamed_images_of_equal_sizes_are_warned_about(
    ltrun: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listed: bool
) -> None:
    """Warns on resuming, even from the checkpoint alone, and for a finished run; a sweep warns once for all its jobs."""
    for path in photos.rglob("*.png"):
        Image.open(path).save(path.with_suffix(".bmp"))
        path.unlink()
    for number, path in enumerate(sorted(photos.rglob("*.bmp"))):
        os.utime(path, ns=(1, 10**18 + number))
    words, told = (*PHOTOS, "dataset.streamed=true", "dataset.workers=0"), "images were written or replaced since"
    interrupt(ltrun, monkeypatch, *words)
    if not listed:
        next((tmp_path / "outputs").rglob("data.npz")).unlink()
    swap(photos, "ant/0003.bmp", "bee/0001.bmp")
    again = ltrun(*words)
    assert again.returncode == 0, again.stderr
    said = " ".join((again.stdout + again.stderr).split())
    assert said.count(told) == 1
    assert f"2 of 48 {told} this run began, such as" in said
    assert "known by names and sizes only; if their contents have changed, force=true trains from scratch" in said
    assert ltrun(*words).stderr.count(told) == listed
    assert ltrun("-m", *words, "seed=1,2", "force=true", "runtime.pack=1").returncode == 0
    sweep = ("-m", *words, "seed=1,2", "runtime.pack=1")
    assert told not in ltrun(*sweep).stderr, "nothing changed"
    swap(photos, "ant/0003.bmp", "bee/0001.bmp")
    done = ltrun(*sweep)
    assert (done.stdout.count("done before"), done.stderr.count(told)) == (2, 1)


def test_a_result_outlives_its_data(ltrun: Run, photos: Path) -> None:
    assert ltrun(*PHOTOS).returncode == 0
    photos.rename(photos.with_name("away"))
    assert "done before" in ltrun(*PHOTOS).stdout


def test_data_of_finished_jobs_are_opened_once(ltrun: Run, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("-m", *PHOTOS, "seed=0,1,2", "runtime.pack=1")
    assert ltrun(*words).returncode == 0
    opened: list[object] = []
    whole = ImageFolder.open

    def counted(self: ImageFolder, device: torch.device) -> Splits:
        opened.append(self)
        return whole(self, device)

    monkeypatch.setattr(ImageFolder, "open", counted)
    assert ltrun(*words).stdout.count("done before") == 3
    assert len(opened) == 1
    black(photos)
    again = ltrun(*words)
    assert again.returncode == 1
    assert again.stderr.count("force=true trains it again on these") >= 3


def test_tables_do_not_mix_runs_of_different_data(ltrun: Run, photos: Path) -> None:
    """Replacing images between two seeds makes another data set, although class names and counts stay equal."""
    assert ltrun(*PHOTOS).returncode == 0
    black(photos, "0000")
    assert ltrun(*PHOTOS, "seed=1").returncode == 0
    report = ltrun("report", "outputs").stdout
    assert report.count("image_folder [image_size=8] (data ") == 2
    assert "image_folder [image_size=8] names 2 data sets, which differ in training images" in report
    assert ltrun(*PHOTOS, "seed=0", "force=true").returncode == 0
    assert "(data " not in ltrun("report", "outputs").stdout


# The command in a record


def test_a_record_of_a_sweep_holds_the_command_of_its_own_run(ltrun: Run, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "options" / "logit_adjustment").mkdir(parents=True)
    (tmp_path / "options" / "logit_adjustment" / "mine.yaml").write_text(
        "adjust: {_target_: ltrun.logit_adjustment.BalancedSoftmax}\n"
    )
    shared = [*PHOTOS[1:], "logit_adjustment=mine", "plugins=[]"]
    flags = ["--config-dir", "options"]
    done = ltrun("-m", "method=erm", *flags, "seed=0,1", *shared, "force=true", "runtime.pack=1")
    assert done.returncode == 0, done.stderr + done.stdout
    records = [RunRecord.load(path) for path in sorted((tmp_path / "outputs").rglob(RESULT))]
    expected = [[*flags, "method=erm", f"seed={seed}", *shared, "runtime.pack=1"] for seed in (0, 1)]
    assert [record.command for record in records] == expected
    again = ltrun(*records[1].command)
    assert again.stdout.count("done before") == 1


# The cache


def swap(photos: Path, one: str, other: str) -> None:
    (photos / one).rename(photos / "aside")
    (photos / other).rename(photos / one)
    (photos / "aside").rename(photos / other)


def test_verification_names_images_that_differ_from_the_cache(
    ltrun: Run, photos: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LTRUN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(stamps, "_values", lambda _: (1, 2, 3, 4))  # a file system whose stamps show no change
    words = ("data", "--verify", *PHOTOS[1:4])
    first = ltrun(*words)
    assert (first.returncode, "it does now" in first.stdout) == (0, True), first.stdout + first.stderr
    assert "48 images match the cache" in ltrun(*words).stdout
    swap(photos, "ant/0003.png", "bee/0001.png")
    found = ltrun(*words)
    assert found.returncode == 1
    assert "2 of 48 images differed from the cache" in found.stdout
    assert [line.strip() for line in found.stdout.splitlines()[-2:]] == ["photos/ant/0003.png", "photos/bee/0001.png"]
    assert ltrun(*words).returncode == 0, "verification did not repair the cache"


@pytest.mark.parametrize("form", ["digits", "streamed"])
def test_verification_compares_digits_but_no_streamed_images(
    ltrun: Run, photos: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, form: str
) -> None:
    monkeypatch.setenv("LTRUN_CACHE", str(tmp_path / "cache"))
    words = {"digits": ("dataset=digits_lt",), "streamed": (*PHOTOS[1:4], "dataset.streamed=true")}[form]
    said = [ltrun("data", "--verify", *words).stdout for _ in range(2)][-1]
    assert {"digits": "1,797 images match the cache", "streamed": "nothing to compare"}[form] in said
