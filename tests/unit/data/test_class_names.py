"""Names of class folders that look the same, differ in case, or cannot be printed."""

import unicodedata
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from ltrun.data import ImageFolder
from tests.support.data_fakes import class_folders, refused

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("own_cache")


def test_a_class_name_with_an_escape_sequence_is_refused(photos: Path) -> None:
    class_folders(photos / "train", {"wasp\x1b[2J": 1}, size=8)
    assert "\\x1b" in refused(ImageFolder(str(photos)))


@pytest.mark.parametrize(("train", "test"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_accents_match_in_either_unicode_form(tmp_path: Path, train: Literal["NFC", "NFD"], test: Any) -> None:
    names = {split: unicodedata.normalize(form, "Bär") for split, form in (("train", train), ("test", test), ("val", train))}
    for split, name in names.items():
        class_folders(tmp_path / split, {name: 2, "Wolf": 2}, size=8)
    splits = ImageFolder(str(tmp_path), image_size=8).open(CPU)
    assert splits.names == (names["train"], "Wolf")
    assert torch.bincount(splits.test.targets.labels).tolist() == [2, 2]


@pytest.mark.parametrize(("one", "other"), [("Bär", "Ba\u0308r"), ("ant", "ant "), ("ant", " ant")])
@pytest.mark.parametrize("split", ["train", "test"])
def test_two_class_folders_that_look_the_same_are_refused(photos: Path, one: str, other: str, split: str) -> None:
    for folder in {"train", split}:
        class_folders(photos / folder, {one: 2}, size=8)
    class_folders(photos / split, {other: 2}, size=8)
    sentence = refused(ImageFolder(str(photos), image_size=8))
    assert f"{photos / split} holds" in sentence
    assert ascii(one) in sentence and ascii(other) in sentence


def test_names_that_differ_only_in_case_are_two_classes_and_warned_of(photos: Path, caplog: pytest.LogCaptureFixture) -> None:
    for split in ("train", "test"):
        class_folders(photos / split, {"Ant": 2}, size=8)
    assert ImageFolder(str(photos), image_size=8).open(CPU).names == ("Ant", "ant", "bee")
    assert "the classes 'Ant' and 'ant' differ only in case" in caplog.text


@pytest.mark.parametrize("name", ["wasp\n", "wasp\udcff", "\u202ewasp"])
def test_a_class_name_that_cannot_be_printed_is_escaped(photos: Path, name: str) -> None:
    class_folders(photos / "train", {name: 2}, size=8)
    assert f"the class folder {name!a} has a name that cannot be printed" in refused(ImageFolder(str(photos)))
