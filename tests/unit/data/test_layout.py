"""Layout of an image folder: its training, validation and test folders, and messages about all other folders."""

from pathlib import Path

import pytest
import torch

from ltrun.data import ImageFolder
from ltrun.data.layout import split_of, splits_meant, splits_of
from ltrun.errors import DataError
from tests.support.data_fakes import class_folders, encoded, random_images, refused

CPU = torch.device("cpu")
CLASSES = {"ant": 4, "bee": 3}
pytestmark = pytest.mark.usefixtures("own_cache")


def lay(root: Path, *folders: str) -> Path:
    for folder in folders:
        class_folders(root / folder, CLASSES, size=4)
    return root


def flat(folder: Path, count: int = 3) -> None:
    folder.mkdir(parents=True)
    for k, pixels in enumerate(random_images(count, 4)):
        (folder / f"{k}.png").write_bytes(encoded(pixels))


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *((name, "train") for name in ("train", "Training", "train_set", "TrainSet", "seg_train", "train2017", "01-train")),
        *((name, "test") for name in ("test", "Testing", "testset", "test_images", "Test Data")),
        *((name, "val") for name in ("val", "valid", "validation", "Validation_Set", "dev", "val2017")),
        *((name, "eval") for name in ("eval", "evaluation")),
        *(
            (name, None)
            for name in ("trainee", "train station", "test tube", "trainval", "devil", "medieval", "data", "ant", "1")
        ),
    ],
)
def test_a_split_is_known_by_the_name_of_its_folder(name: str, split: str | None) -> None:
    assert split_of(name) == split


@pytest.mark.parametrize(
    ("folders", "splits"),
    [
        (("train", "valid"), {"train": "train", "test": "valid"}),
        (("train", "dev"), {"train": "train", "test": "dev"}),
        (("train", "eval"), {"train": "train", "test": "eval"}),
        (("train", "valid", "test"), {"train": "train", "val": "valid", "test": "test"}),
        (("train", "dev", "eval"), {"train": "train", "val": "dev", "test": "eval"}),
        (("train", "eval", "test"), {"train": "train", "val": "eval", "test": "test"}),
        (("Training", "Testing"), {"train": "Training", "test": "Testing"}),
        (("train_set", "test_set"), {"train": "train_set", "test": "test_set"}),
        (("seg_train/seg_train", "seg_test/seg_test"), {"train": "seg_train/seg_train", "test": "seg_test/seg_test"}),
        (("archive/Train", "archive/Valid"), {"train": "archive/Train", "test": "archive/Valid"}),
        (("train", "train_set", "test"), {"train": "train", "test": "test"}),
        (("train", "val", "validation"), {"train": "train", "test": "val"}),
        (("photos",), {"train": "photos"}),
        (("abc_train/abc_train", "abc_test/abc_test"), {"train": "abc_train/abc_train", "test": "abc_test/abc_test"}),
        (("abc_train", "test"), {"train": "abc_train", "test": "test"}),
        (("Training", "Test", "test-several"), {"train": "Training", "test": "Test"}),
        (("train",), {"train": "train"}),
        (("",), {"train": ""}),
    ],
)
def test_splits_are_found_by_their_names(tmp_path: Path, folders: tuple[str, ...], splits: dict[str, str]) -> None:
    lay(tmp_path, *folders)
    assert splits_of(tmp_path) == {split: tmp_path / folder for split, folder in splits.items()}
    opened = ImageFolder(str(tmp_path), image_size=4).open(CPU)
    assert opened.names == ("ant", "bee")
    assert len(opened.train) == (7 if "test" in splits else 5)


def test_a_folder_that_is_taken_for_a_split_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    splits_of(lay(tmp_path, "Training", "valid"))
    assert f"{tmp_path / 'Training'} is the training split" in caplog.text
    assert f"{tmp_path / 'valid'} is the test split, because there is no test folder" in caplog.text


def test_folders_beside_the_splits_are_named_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lay(tmp_path, "train", "val", "extra", "train_old", "validation")
    flat(tmp_path / "test")
    for name in (".git", "lost+found", "@eaDir", "$RECYCLE.BIN"):
        (tmp_path / name).mkdir()
    splits_of(tmp_path)
    for name in ("extra", "train_old", "validation"):
        assert f"{tmp_path / name} is left out: the splits are train, val" in caplog.text
    assert f"{tmp_path / 'test'} holds images without class folders and is left out" in caplog.text
    assert not any(name in caplog.text for name in (".git", "lost+found", "@eaDir", "$RECYCLE.BIN"))


@pytest.mark.parametrize("below", ["", "train"])
def test_the_log_says_that_a_fifth_is_held_out(tmp_path: Path, below: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    class_folders(tmp_path / below, {"ant": 12, "bee": 8, "cat": 6}, size=4)
    if below:
        flat(tmp_path / "test")
    ImageFolder(str(tmp_path), image_size=4).open(CPU)
    where = tmp_path / below
    assert f"{where} has no test folder: 5 of its 26 images are held out for testing (dataset.test_fraction=0.2" in caplog.text


def test_two_folders_for_one_split_are_refused(tmp_path: Path) -> None:
    sentence = refused(ImageFolder(str(lay(tmp_path, "train_set", "train_images"))))
    assert str(tmp_path / "train_set") in sentence
    assert str(tmp_path / "train_images") in sentence


@pytest.mark.parametrize("name", ["train", "val"])
def test_two_folders_that_differ_only_in_case_are_refused(tmp_path: Path, name: str) -> None:
    lay(tmp_path, "train", "test", name, name.title())
    sentence = refused(ImageFolder(str(tmp_path), image_size=4))
    assert f"{tmp_path / name.title()} and {tmp_path / name} differ only in case" in sentence


@pytest.mark.parametrize("inner", ["images", "x", "x/x"])
@pytest.mark.parametrize("beside", ["labels/train", "test", "test/test"])
def test_splits_in_a_deeper_folder_are_refused_with_the_root_to_give(tmp_path: Path, inner: str, beside: str) -> None:
    lay(tmp_path, f"{inner}/train", f"{inner}/val")
    flat(tmp_path / beside)
    sentence = refused(ImageFolder(str(tmp_path), image_size=4))
    assert sentence.endswith(f": give dataset.root={tmp_path / inner}")
    assert ImageFolder(sentence.rpartition("=")[2], image_size=4).open(CPU).names == ("ant", "bee")


def test_deeper_splits_without_class_folders_are_refused(tmp_path: Path) -> None:
    for split in ("images/train", "images/val"):
        flat(tmp_path / split)
    (tmp_path / "labels" / "train").mkdir(parents=True)
    sentence = refused(ImageFolder(str(tmp_path), image_size=4))
    assert sentence.startswith(f"{tmp_path / 'images' / 'train'} holds no class folders: put")


def test_a_test_split_alone_is_refused(tmp_path: Path) -> None:
    assert "holds test and val and no folder 'train'" in refused(ImageFolder(str(lay(tmp_path, "test", "val"))))


def test_train_and_test_without_class_folders_do_not_pass_for_two_classes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    flat(tmp_path / "train")
    flat(tmp_path / "test")
    assert f"{tmp_path / 'train'} holds no class folders" in refused(ImageFolder(str(tmp_path)))
    lay(tmp_path / "other", "")
    flat(tmp_path / "other" / "test")
    assert splits_of(tmp_path / "other") == {"train": tmp_path / "other"}
    assert f"{tmp_path / 'other' / 'test'} is taken for a class, though it is named like a split" in caplog.text


def test_an_only_folder_that_is_taken_for_the_root_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    lay(tmp_path / "download", "archive/train", "archive/test")
    splits_of(tmp_path / "download")
    assert f"{tmp_path / 'download' / 'archive'} is taken for download, because it is the only folder there" in caplog.text


def test_splits_with_a_single_class_are_refused_and_not_descended_into(tmp_path: Path) -> None:
    class_folders(tmp_path / "train", {"ant": 3}, size=4)
    class_folders(tmp_path / "test", {"ant": 3}, size=4)
    with pytest.raises(DataError, match="single class"):
        ImageFolder(str(tmp_path)).open(CPU)


@pytest.mark.parametrize(("folders", "place"), [(("",), ""), (("train", "test"), ""), (("train", "test"), "train")])
def test_images_beside_class_folders_and_splits_are_counted_and_left_out(
    tmp_path: Path, folders: tuple[str, ...], place: str, caplog: pytest.LogCaptureFixture
) -> None:
    where = lay(tmp_path, *folders) / place
    for name in ("b.png", "a.JPG", "notes.txt", "._a.jpg"):
        (where / name).write_bytes(b"x")
    ImageFolder(str(tmp_path), image_size=4).open(CPU)
    said = [line for line in caplog.messages if "beside its folders" in line]
    assert said == [f"images in {where} itself, beside its folders, are left out: 2, such as a.JPG"]


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["train", "test", "val"], ["train", "test", "val"]),
        (["Training", "Testing", "dev set"], ["train", "test", "val"]),
        (["train", "val"], ["train", "test"]),
        (["train", "eval", "valid"], ["train", "test", "val"]),
        (["train", "eval", "test"], ["train", "val", "test"]),
        (["train", "", "holdout", "1"], ["train", None, None, None]),
    ],
)
def test_words_of_a_column_mean_splits_as_names_of_folders_do(words: list[str], meant: list[str | None]) -> None:
    assert list(splits_meant(words).values()) == meant
