"""Parquet files of a hub: the split of each file by its name or folder, series without gaps, names of classes."""

import json
from pathlib import Path

import pytest

from ltrun.data.shards import class_names, shards_of
from ltrun.errors import DataError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return root


def found(root: Path) -> dict[str, list[str]]:
    return {split: [str(path.relative_to(root)) for path in paths] for split, paths in shards_of(root).items()}


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["train.parquet", "test.parquet"], {"train": ["train.parquet"], "test": ["test.parquet"]}),
        (
            [
                "data/train-00001-of-00002.parquet",
                "data/train-00000-of-00002.parquet",
                "data/validation-00000-of-00001.parquet",
            ],
            {
                "train": ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"],
                "test": ["data/validation-00000-of-00001.parquet"],
            },
        ),
        (
            ["train-00000-of-00001-a9f0bd1d2c1c7b7e.parquet", "test-00000-of-00001-0123456789abcdef.parquet", "valid.parquet"],
            {
                "train": ["train-00000-of-00001-a9f0bd1d2c1c7b7e.parquet"],
                "test": ["test-00000-of-00001-0123456789abcdef.parquet"],
                "val": ["valid.parquet"],
            },
        ),
        (
            ["plain/train/0000.parquet", "plain/train/0001.parquet", "plain/test/0000.parquet"],
            {"train": ["plain/train/0000.parquet", "plain/train/0001.parquet"], "test": ["plain/test/0000.parquet"]},
        ),
        (["part-00000.parquet", "part-00001.parquet"], {"train": ["part-00000.parquet", "part-00001.parquet"]}),
        (["train.parquet", "extra.parquet", ".hidden/test.parquet"], {"train": ["train.parquet"]}),
    ],
)
def test_the_split_of_a_file_is_in_its_name_or_its_folder(
    tmp_path: Path, names: list[str], splits: dict[str, list[str]]
) -> None:
    assert found(touch(tmp_path, *names)) == splits


def test_a_file_whose_name_says_no_split_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found(touch(tmp_path, "train.parquet", "extra.parquet"))
    assert "extra.parquet is left out: its name says no split" in caplog.text


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], "holds no Parquet files"),
        (["a.txt"], "holds no Parquet files"),
        (["test.parquet"], "holds test and no training images"),
        (["train-00000-of-00003.parquet"], "00001-of-00003, and 1 more, of the 3 files like"),
        (["fine/train.parquet", "coarse/train.parquet"], "holds Parquet files of several data sets, in"),
        (["fine/train/0.parquet", "coarse/train/0.parquet"], "holds Parquet files of several data sets, in"),
    ],
)
def test_a_folder_that_is_no_data_set_is_refused(tmp_path: Path, names: list[str], said: str) -> None:
    with pytest.raises(DataError, match=said):
        shards_of(touch(tmp_path, *names))


def test_a_root_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is not a folder: give dataset\.root=FOLDER"):
        shards_of(tmp_path / "none")


@pytest.mark.parametrize(
    ("features", "names"),
    [
        ({"label": {"names": ["ant", "bee"], "_type": "ClassLabel"}}, ("ant", "bee")),
        ({"label": {"dtype": "int64", "_type": "Value"}}, ()),
        ({"label": ["ant"]}, ()),
        ({}, ()),
    ],
)
def test_names_of_classes_come_from_the_metadata(features: dict[str, object], names: tuple[str, ...]) -> None:
    metadata = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    assert class_names(metadata, "label") == names


@pytest.mark.parametrize("metadata", [None, {}, {b"huggingface": b"{"}, {b"huggingface": b"[]"}])
def test_metadata_of_other_kinds_hold_no_names(metadata: dict[bytes, bytes] | None) -> None:
    assert class_names(metadata, "label") == ()
