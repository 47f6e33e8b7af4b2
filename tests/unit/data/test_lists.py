"""Lists of images: their lines, what no list may hold, where lists are found, the names of classes."""

from pathlib import Path

import pytest

from ltrun.data.keys import IMAGENET, OWN
from ltrun.data.lists import check_apart, class_folders_of, find_lists, names_of, own_classes, read_list
from ltrun.errors import DataError
from tests.support.listed_images import annotations


def written(folder: Path, content: str | bytes, name: str = "train.txt") -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def refused(file: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_list(file)
    sentence = str(caught.value)
    assert str(file) in sentence and "\n" not in sentence
    return sentence


@pytest.mark.parametrize(
    "content",
    [
        "a/1.jpg 0\nb c/2.jpg 1\n",
        "a/1.jpg 0\r\nb c/2.jpg 1\r\n",
        "\ufeffa/1.jpg 0\nb c/2.jpg 1",
        "./a/1.jpg\t0\n\nb c/2.jpg   1\n\n",
    ],
    ids=["plain", "Windows", "byte order mark", "tabs and blank lines"],
)
def test_the_last_word_of_a_line_is_the_label_and_the_rest_is_the_path(tmp_path: Path, content: str) -> None:
    found = read_list(written(tmp_path, content))
    assert found.paths == ["a/1.jpg", "b c/2.jpg"]
    assert found.labels.tolist() == [0, 1]


def test_a_path_that_is_not_utf_8_stays_the_path_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "caf\udce9.jpg").write_bytes(b"")
    (path,) = read_list(written(tmp_path, b"caf\xe9.jpg 0\n")).paths
    assert (tmp_path / path).is_file()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        ("\n \n", "is empty"),
        ("a.jpg 0\nb.jpg\n", "line 2: 'b.jpg' does not end in a label"),
        ("a.jpg -1\n", "line 1: 'a.jpg -1' does not end in a label"),
        ("a.jpg ant\n", "does not end in a label"),
        ("a.jpg 1.0\n", "does not end in a label"),
        ("a.jpg ２\n", "does not end in a label"),
        ("a.jpg 0 14\n", "line 1: 'a.jpg 0 14' has several labels"),
    ],
)
def test_a_file_that_is_no_list_is_refused_by_line(tmp_path: Path, content: str, said: str) -> None:
    assert said in refused(written(tmp_path, content))


def test_two_lines_of_one_image_are_named_whatever_their_spelling(tmp_path: Path) -> None:
    given = read_list(written(tmp_path, "train/n01440764/n01440764_1.JPEG 0\nx/n01440764_2.JPEG 0\nn01440764_1.JPEG 1\n"))
    assert given.keys(OWN) == given.paths
    with pytest.raises(DataError, match=r"names n01440764_1 2 times, in its images 1 and 3: an image belongs into a list once"):
        given.keys(IMAGENET)


def test_annotations_join_labels_by_the_numbers_of_images(tmp_path: Path) -> None:
    labelled = {"train_val2018/Aves/3/a.jpg": 3, "train_val2018/Plantae/0/b.jpg": 0}
    found = read_list(written(tmp_path, annotations(labelled), "train2018.json"))
    assert dict(zip(found.paths, found.labels.tolist(), strict=True)) == labelled


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"images": [], "annotations": []}',
        '{"images": [{"id": 1, "file_name": "a"}], "annotations": []}',
        '{"images": [{"id": 1}], "annotations": []}',
        '{"images": [{"id": 1, "file_name": "a"}], "annotations": [{"image_id": 1, "category_id": "x"}]}',
        "[" * 100_000,
    ],
)
def test_json_without_images_and_categories_is_refused(tmp_path: Path, content: str) -> None:
    refused(written(tmp_path, content, "train2018.json"))


def test_lists_are_found_by_name_in_the_root_and_in_folders_of_lists(tmp_path: Path) -> None:
    names = {"train": ("LT_train.txt", "train.txt"), "test": ("LT_test.txt", "test.txt"), "val": ("LT_val.txt",)}
    train, test = written(tmp_path / "data_txt" / "ImageNet_LT", "a 0"), written(tmp_path, "b 0", "LT_test.txt")
    written(tmp_path / "data_txt" / "ImageNet_LT", "c 0", "test.txt")
    written(tmp_path, "another 0", "test.txt")
    assert find_lists(tmp_path, None, names) == {"train": train, "test": test}
    only = find_lists(tmp_path, str(tmp_path / "data_txt" / "ImageNet_LT"), names)
    assert only == {"train": train, "test": train.with_name("test.txt")}


@pytest.mark.parametrize(
    ("train", "test", "said"),
    [
        ("a 1\nb 2\n", "c 1", "no image with label 0: labels run from 0 on"),
        ("a 0\nb 2\n", "c 0", "no image with label 1: labels run from 0 to 2 here"),
        ("a 0\n", "c 0", "holds a single class"),
        ("a 0\nb 1\n", "c 0\nd 2\ne 3\n", "d has label 2, but training has 2 classes, 0 to 1, and 1 more labels are too large"),
    ],
)
def test_labels_of_own_lists_run_from_0_without_a_gap_and_training_has_them_all(
    tmp_path: Path, train: str, test: str, said: str
) -> None:
    lists = read_list(written(tmp_path, train)), read_list(written(tmp_path, test, "test.txt"))
    with pytest.raises(DataError, match=said):
        own_classes(lists[0], lists[1:])


def test_an_image_of_two_splits_is_leakage(tmp_path: Path) -> None:
    lists = {
        "train": read_list(written(tmp_path, "train/n01440764_1.JPEG 0\nn01440764_2.JPEG 0\n")),
        "test": read_list(written(tmp_path, "n01440764_3.JPEG 0\nval/n01440764_1.JPEG 0\n", "test.txt")),
    }
    check_apart(lists, OWN)
    with pytest.raises(DataError, match=r"leakage: 1 images of .*test.txt are in .*train.txt too, such as n01440764_1: remove"):
        check_apart(lists, IMAGENET)


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("x/ant/1.jpg 0\nx/bee/1.jpg 1\nx/ant/2.jpg 0\n", ("ant", "bee")),
        ("x/ant/1.jpg 0\nx/bee/1.jpg 1\nx/bug/2.jpg 0\n", ("0", "1")),
        ("x/all/1.jpg 0\nx/all/2.jpg 1\n", ("0", "1")),
        ("1.jpg 0\n2.jpg 1\n", ("0", "1")),
    ],
    ids=["a folder each", "two folders", "one folder", "no folder"],
)
def test_classes_are_named_as_their_folders_where_each_has_one(tmp_path: Path, content: str, names: tuple[str, ...]) -> None:
    assert class_folders_of(read_list(written(tmp_path, content)), 2) == names


def test_names_of_classes_come_from_a_file_beside_the_lists_and_stay_different(tmp_path: Path) -> None:
    classes = ("n1", "n2", "n3")
    assert names_of(tmp_path, classes) == classes
    written(tmp_path, "n1 crane\nn2 great white shark\n", "classnames.txt")
    assert names_of(tmp_path, classes) == classes  # it does not name them all
    written(tmp_path, "n1 crane\r\nn2 great white shark\r\nn3 crane\r\n", "classnames.txt")
    assert names_of(tmp_path, classes) == ("crane (n1)", "great white shark", "crane (n3)")


def test_names_of_species_come_from_the_categories(tmp_path: Path) -> None:
    written(tmp_path, '[{"id": 1, "name": "Bufo bufo"}, {"id": 0, "name": "Apis mellifera"}]', "categories.json")
    assert names_of(tmp_path, ("0", "1")) == ("Apis mellifera", "Bufo bufo")
    written(tmp_path, '{"id": 1}', "categories.json")
    with pytest.raises(DataError, match=r"categories\.json is no list of categories with id and name"):
        names_of(tmp_path, ("0", "1"))
