"""`ltrun data export`: runs from an export are bit-equal to runs from the original data set."""

import errno
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
import torch

from ltrun.data import CIFARLT, Resident, parquet
from ltrun.data.decoding import Decoding
from ltrun.data.export import Note, digest
from ltrun.data.images import decode_all
from ltrun.data.releases import CIFAR10, RELEASES
from tests.support.commands import Run, refused
from tests.support.data_fakes import fake_release
from tests.support.narrow import of_type, present

CPU = torch.device("cpu")
TAIL = ("dataset=cifar10_lt", "dataset.imbalance=10", "dataset.validation_per_class=2")


@pytest.fixture
def official(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small CIFAR-10 in the official format: 20 training and 4 test images per class."""
    release, files = fake_release()
    monkeypatch.setitem(RELEASES, 10, release)
    (tmp_path / "official" / release.folder).mkdir(parents=True)
    for name, content in files.items():
        (tmp_path / "official" / release.folder / name).write_bytes(content)
    return tmp_path / "official"


@pytest.fixture
def exported(official: Path, ltrun: Run, tmp_path: Path) -> Path:
    done = ltrun("data", "export", *TAIL, f"dataset.root={official}", f"to={tmp_path / 'new' / 'out'}")
    assert done.returncode == 0, done.stderr
    return tmp_path / "new" / "out"


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def opened(root: Path, **choices: Any) -> list[tuple[torch.Tensor, torch.Tensor]]:
    splits = CIFARLT(10, str(root), download=False, imbalance=10, **choices).open(CPU)
    return [
        (of_type(Resident, store).images, store.targets.labels) for store in (splits.train, splits.val, splits.test) if store
    ]


def outcome(outputs: Path) -> tuple[dict[str, torch.Tensor], dict[str, np.ndarray], Any]:
    """Weights, predictions and metrics of the only run under `outputs`."""
    (result,) = outputs.rglob("result.json")
    (checkpoint,) = result.parent.glob("*.pt")
    with np.load(result.parent / "predictions.npz") as arrays:
        predictions = dict(arrays)
    record = json.loads(result.read_text())
    return torch.load(checkpoint, weights_only=True)["module"], predictions, (record["predictors"], record["classes"])


@pytest.mark.parametrize("profile", ["as_is", "exponential"])
def test_a_run_from_an_export_is_bit_equal(profile: str, official: Path, exported: Path, ltrun: Run, tmp_path: Path) -> None:
    short = (*TAIL, "method=ldam_drw", "network=resnet8", "epochs=2", "batch_size=16", "selection=best_val")
    runs = {"one": (f"dataset.root={official}",), "other": (f"dataset.root={exported}", f"dataset.profile={profile}")}
    for outputs, root in runs.items():
        done = ltrun(*short, *root, f"outputs={tmp_path / outputs}")
        assert done.returncode == 0, done.stderr
    (weights, predictions, metrics), (weights2, predictions2, metrics2) = outcome(tmp_path / "one"), outcome(tmp_path / "other")
    assert weights.keys() == weights2.keys()
    assert all(torch.equal(weights[name], weights2[name]) for name in weights)
    assert predictions.keys() == predictions2.keys()
    assert all(np.array_equal(predictions[name], predictions2[name]) for name in predictions)
    assert metrics == metrics2
    addresses = {next((tmp_path / name).rglob("result.json")).parent.relative_to(tmp_path / name) for name in runs}
    assert (len(addresses) == 1) == (profile == "exponential")


def test_an_export_describes_itself(exported: Path) -> None:
    """Each file notes the names and counts of all classes, the tail and the digests."""
    counts = {}
    for split in ("train", "validation", "test"):
        file = exported / f"{split}.parquet"
        note = json.loads(parquet.note_of(file))
        counts[split] = np.bincount(pyarrow.parquet.read_table(file)["label"].to_numpy(), minlength=10).tolist()
        assert (note["dataset"], note["split"], note["names"], note["counts"]) == (
            "CIFAR-10",
            split,
            list(CIFAR10),
            counts[split],
        )
        assert note["tail"] == {"profile": "exponential", "imbalance": 10, "validation_per_class": 2}
        assert len(note["sha256"]) == len(note["source_sha256"]) == 64
    assert counts == {"train": [18, 15, 11, 9, 7, 5, 4, 3, 2, 2], "validation": [2] * 10, "test": [4] * 10}


def test_the_same_command_again_writes_nothing(official: Path, exported: Path, ltrun: Run) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in exported.iterdir()}
    done = ltrun("data", "export", *TAIL, f"dataset.root={official}", f"to={exported}")
    assert done.returncode == 0 and f"dataset.root={exported} dataset.profile=exponential dataset.imbalance=10" in done.stdout
    assert {path.name: path.stat().st_mtime_ns for path in exported.iterdir()} == before


def test_a_tail_of_few_images_travels_in_the_export(official: Path, ltrun: Run, tmp_path: Path) -> None:
    done = ltrun("data", "export", *TAIL, "dataset.shots=1", f"dataset.root={official}", f"to={tmp_path / 'few'}")
    assert done.returncode == 0 and "dataset.validation_per_class=2 dataset.shots=1" in done.stdout
    own, again = (opened(root, validation_per_class=2, shots=1) for root in (official, tmp_path / "few"))
    assert torch.bincount(own[0][1]).tolist() == [18, 15, 11, 9, 7, 1, 1, 1, 1, 1]
    assert all(torch.equal(a, b) for one, other in zip(own, again, strict=True) for a, b in zip(one, other, strict=True))
    said = refused(ltrun("data", *TAIL, f"dataset.root={tmp_path / 'few'}"))
    assert "dataset.validation_per_class=2 dataset.shots=1" in said


def test_an_export_of_an_export_holds_the_same_images(exported: Path, ltrun: Run, tmp_path: Path) -> None:
    done = ltrun("data", "export", *TAIL, f"dataset.root={exported}", f"to={tmp_path / 'again'}")
    assert done.returncode == 0, done.stderr
    assert opened(tmp_path / "again", validation_per_class=2) is not None
    pairs = zip(opened(exported, validation_per_class=2), opened(tmp_path / "again", validation_per_class=2), strict=True)
    assert all(torch.equal(a, b) for one, other in pairs for a, b in zip(one, other, strict=True))


def test_other_data_are_never_overwritten(official: Path, exported: Path, ltrun: Run, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "holiday.jpg").write_bytes(b"precious")
    for folder, other in ((exported, ("dataset.imbalance=5",)), (photos, ())):
        before = files_of(folder)
        said = refused(ltrun("data", "export", *TAIL, *other, f"dataset.root={official}", f"to={folder}"))
        assert f"to={folder} holds other data" in said and "new or empty" in said
        assert files_of(folder) == before


def test_an_empty_folder_and_a_link_to_one_are_filled(official: Path, ltrun: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    done = ltrun("data", "export", *TAIL, f"dataset.root={official}", "to=link")
    assert done.returncode == 0, done.stderr
    assert sorted(files_of(tmp_path / "empty")) == ["test.parquet", "train.parquet", "validation.parquet"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["dataset=cifar10_lt"], "to: name one folder"),
        (["dataset=cifar10_lt", "to="], "to: name one folder"),
        (["dataset=cifar10_lt", "to=a", "to=b"], "to: name one folder"),
        (["dataset=cifar10_lt", "dataset.imbalance=10", "dataset.root={official}", "to={file}"], "{file} cannot be written"),
        (
            ["dataset=cifar10_lt", "dataset.imbalance=10", "dataset.root={official}", "to={file}/below"],
            "{file}/below cannot be written",
        ),
        (["dataset=digits_lt", "to=a"], "digits_lt comes with scikit-learn"),
        (["dataset=image_folder", "to=a"], "an image folder can be copied"),
        (["dataset=cifar10_lt", "dataset.download=false", "dataset.root=nothing", "to=a"], "no CIFAR-10"),
    ],
)
def test_an_impossible_export_is_refused_in_one_sentence(
    words: list[str], said: str, official: Path, ltrun: Run, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_text("text")
    names = {"official": str(official), "file": str(file)}
    assert said.format(**names) in refused(ltrun("data", "export", *(word.format(**names) for word in words)))
    assert not (tmp_path / "a").exists() and file.read_text() == "text"


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_an_interrupted_or_failed_export_leaves_no_files(
    failure: BaseException, official: Path, ltrun: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = parquet.write

    def failing(file: Path, *rest: Any) -> None:
        whole(file, *rest)
        if file.name == "test.parquet":
            raise failure

    monkeypatch.setattr(parquet, "write", failing)
    before = sorted(tmp_path.iterdir())
    done = ltrun("data", "export", *TAIL, f"dataset.root={official}", "to=out")
    assert done.returncode == (1 if isinstance(failure, OSError) else 130)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    "choices",
    [
        ["dataset.profile=step"],
        ["dataset.profile=pareto"],
        ["dataset.imbalance=5"],
        ["dataset.shots=1"],
        ["dataset.validation_per_class=0"],
        ["dataset.profile=as_is", "dataset.imbalance=5"],
        ["dataset.profile=as_is", "dataset.validation_per_class=0"],
    ],
)
def test_a_tail_is_not_cut_twice(choices: list[str], exported: Path, ltrun: Run) -> None:
    said = refused(ltrun("data", *TAIL, *choices, f"dataset.root={exported}"))
    assert "dataset.profile=exponential dataset.imbalance=10 dataset.validation_per_class=2" in said


def test_an_export_of_another_data_set_is_refused(exported: Path, ltrun: Run) -> None:
    assert "CIFAR-10, not CIFAR-100" in refused(ltrun("data", "dataset=cifar100_lt", f"dataset.root={exported}"))


@pytest.mark.parametrize("damage", ["images swapped", "another export's validation", "no validation", "note cut short"])
def test_a_damaged_export_is_named(damage: str, official: Path, exported: Path, ltrun: Run, tmp_path: Path) -> None:
    file = exported / "train.parquet"
    table = pyarrow.parquet.read_table(file)
    note = (table.schema.metadata or {})[parquet.NOTE]
    if damage == "images swapped":
        swapped = table.take([1, 0, *range(2, len(table))]).replace_schema_metadata({parquet.NOTE: note})
        pyarrow.parquet.write_table(swapped, file)
    elif damage == "note cut short":
        pyarrow.parquet.write_table(table.replace_schema_metadata({parquet.NOTE: note[:-9]}), file)
    else:
        file = exported / "validation.parquet"
        file.unlink()
        if damage.startswith("another"):
            other = (*TAIL, "dataset.validation_per_class=3")
            assert ltrun("data", "export", *other, f"dataset.root={official}", "to=other").returncode == 0
            (tmp_path / "other" / "validation.parquet").rename(file)
    said = refused(ltrun("data", *TAIL, "dataset.profile=as_is", f"dataset.root={exported}"))
    assert str(file if damage != "another export's validation" else exported) in said


@pytest.mark.slow
def test_an_export_of_cifar100_lt_holds_ldams_subset(cifar100_root: Path, shared: Path, ltrun: Run, tmp_path: Path) -> None:
    """In the order of LDAM's code, and in less than 50 MB."""
    choices = ("dataset=cifar100_lt", f"dataset.root={cifar100_root}", f"to={tmp_path / 'out'}")
    done = ltrun("data", "export", *choices)
    assert done.returncode == 0, done.stderr
    assert sum(path.stat().st_size for path in (tmp_path / "out").iterdir()) < 50e6
    index = json.loads((shared / "data" / "cifar100" / "ldam_exp_ir100_seed0.json").read_text())["index"]
    splits = CIFARLT(100, str(cifar100_root)).splits()
    for split, rows in {"train": np.array(index), "test": np.arange(10_000)}.items():
        file, raw = tmp_path / "out" / f"{split}.parquet", splits[split][0]
        expected = raw.take(rows)
        assert present(Note.of(file)).sha256 == digest(expected)
        table = pyarrow.parquet.read_table(file)
        assert np.array_equal(table["fine_label"].to_numpy(), expected.labels)
        some = [0, 1, 499, 500, len(rows) - 1]  # the tests above decode all images of small exports
        pixels, _ = decode_all([table["img"][row].as_py() for row in some], Decoding(32, crop=False))
        assert np.array_equal(pixels, expected.images[some])
