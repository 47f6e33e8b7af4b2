"""Lists of videos in both forms, and names of classes."""

from pathlib import Path

import numpy as np
import pytest

from ltrun.data.video_lists import find_lists, read_list, read_names
from ltrun.errors import DataError


def written(folder: Path, text: str) -> Path:
    (folder / "train.lst").write_text(text)
    return folder / "train.lst"


def test_both_forms_say_the_same(tmp_path: Path) -> None:
    plain = read_list(written(tmp_path, "bmJxIlOApIQ 58\n-eMJ 585,3,58\n"))
    folders = read_list(
        written(tmp_path, "\ufeffarmWrestling/bmJxIlOApIQ 6 58,\r\nmaking/plasticine/-eMJ 127 58,585,3,\r\n\r\n")
    )
    assert plain.ids == folders.ids == ["bmJxIlOApIQ", "-eMJ"]
    assert plain.labels == folders.labels == [(58,), (3, 58, 585)]
    assert plain.classes == 586
    assert np.flatnonzero(plain.hot(586)[1]).tolist() == [3, 58, 585]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is empty"),
        ("a 1\nb\n", r"line 2: 'b' has no label: write 'id 178,343'"),
        ("a 1\n\nclass/b 12 ,\n", r"line 3: 'class/b 12 ,' has no label"),
        ("a one\n", r"line 1: 'a one' is neither"),
        ("a 1,,2\n", "is neither"),
        ("a -1\n", "is neither"),
        ("a ²\n", "is neither"),
        ("class/a x 1,\n", "is neither"),
        ("a b c 1\n", "is neither"),
        ("a 1\nb 2\nclass/a 3 1,\n", r"names video a twice, in lines 1 and 3"),
    ],
)
def test_other_lines_are_refused_by_number(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        read_list(written(tmp_path, text))


def test_a_label_outside_the_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"video b label 5, and there are 5 classes, 0 to 4: .* dataset\.names"):
        read_list(written(tmp_path, "a 1\nb 2,5\n")).hot(5)


@pytest.mark.parametrize(
    ("text", "names", "counts"),
    [("ant 1 3.0\nbee 0 10\n", ("bee", "ant"), [10, 3]), ("ant\nbee\n", ("ant", "bee"), None)],
)
def test_names(tmp_path: Path, text: str, names: tuple[str, ...], counts: list[int] | None) -> None:
    found, published = read_names(written(tmp_path, text))
    assert found == names
    assert (None if published is None else published.tolist()) == counts


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("ant 0 3\nbee 0 4\n", "line 2: 'bee 0 4' names no class of its own"),
        ("ant 0 3\nbee 2 4\n", "names 2 classes, and none with label 1"),
        ("ant 0 3\nbee x 4\n", "line 2"),
        ("ant 0 3\nant 1 4\n", "two classes one name"),
        ("", "names none"),
    ],
)
def test_bad_names_are_refused(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        read_names(written(tmp_path, text))


def test_lists_are_found_below_the_root_or_by_name(tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    written(tmp_path / "labels", "a 1\n")
    names = {"train": ("train.lst", "train_videofolder.txt"), "val": ("validate.lst",)}
    assert find_lists(tmp_path, None, names, {}) == {"train": tmp_path / "labels" / "train.lst"}
    assert find_lists(tmp_path, str(tmp_path / "labels"), names, {}) == {"train": tmp_path / "labels" / "train.lst"}
    own = written(tmp_path, "b 1\n").rename(tmp_path / "own.lst")
    assert find_lists(tmp_path, None, names, {"train": "own.lst"}) == {"train": own}
    assert find_lists(tmp_path, None, names, {"train": str(own)}) == {"train": own}
    with pytest.raises(DataError, match=r"dataset\.train: none\.lst is neither in "):
        find_lists(tmp_path, None, names, {"train": "none.lst"})


def test_the_real_lists_are_the_published_ones(shared_lists: Path) -> None:
    folder = shared_lists / "videolt"
    (names, published), train = read_names(folder / "count-labels-train.lst"), read_list(folder / "train.lst")
    counts = train.hot(1004).sum(axis=0)
    assert (
        published is not None and np.array_equal(counts, published) and names[published.argmax()] == names[int(counts.argmax())]
    )
    assert (len(train.ids), counts.max(), counts.min()) == (179_334, 1912, 44)
    assert [(counts > 500).sum(), ((counts > 100) & (counts <= 500)).sum(), (counts <= 100).sum()] == [47, 617, 340]
    plain, folders = read_list(folder / "test.lst"), read_list(folder / "test_videofolder.txt")
    assert plain.ids == folders.ids and plain.labels == folders.labels and len(plain.ids) == 51_239
