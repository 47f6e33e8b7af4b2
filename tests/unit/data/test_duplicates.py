"""Images that stand twice in a data set: repeated rows, leakage over splits, two labels for one image, equal files."""

from pathlib import Path

import numpy as np
import pytest

from ltrun.data.duplicates import END, digests_of_alike, first_of_each, tell_copies
from ltrun.errors import DataError


def first(names: list[str], labels: list[int], splits: list[str]) -> list[int]:
    return first_of_each(names, np.array(labels), np.array(splits), "labels.csv", lambda row: f"line {row + 2}").tolist()


def test_a_repeated_row_counts_once(caplog: pytest.LogCaptureFixture) -> None:
    assert first(["a", "b", "a", "a"], [0, 1, 0, 0], ["train"] * 4) == [0, 1]
    assert "labels.csv: 2 rows are repeated, such as line 4 for a: each image counts once" in caplog.messages


def test_an_image_in_two_splits_is_leakage() -> None:
    with pytest.raises(DataError) as caught:
        first(["a", "b", "a", "b"], [0, 1, 0, 1], ["train", "train", "test", "val"])
    said = "labels.csv: a is in train (line 2) and in test (line 4), and 1 more row is in two splits. This is leakage"
    assert str(caught.value).startswith(said)


def test_an_image_with_two_labels_is_refused() -> None:
    with pytest.raises(DataError, match=r"labels\.csv: a has one label in line 2 and another in line 3: keep one"):
        first(["a", "a"], [0, 1], ["train", "train"])


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """0 and 3 are equal; 1 has their size and their end, 2 has their size; 4 and 5 are empty."""
    long = bytes(range(256)) * (END // 128)
    contents = [b"a" + long, b"b" + long, long + b"c", b"a" + long, b"", b""]
    paths = [tmp_path / f"{n}.jpg" for n in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return paths


def test_only_files_of_one_content_share_a_digest(files: list[Path]) -> None:
    digests = digests_of_alike(files, np.array([path.stat().st_size for path in files]))
    assert (digests[0] == digests[3]).all()
    assert digests[0].any()
    assert not (digests[0] == digests[1]).all()
    assert not digests[[2, 4, 5]].any()


def test_a_file_that_vanishes_has_a_content_of_its_own(files: list[Path]) -> None:
    sizes = np.array([path.stat().st_size for path in files])
    files[3].unlink()
    assert not digests_of_alike(files, sizes)[[0, 3]].all()


@pytest.mark.parametrize(
    ("labels", "splits", "level", "said"),
    [
        ([0, 0], ["train", "test"], "WARNING", "1 image has the content of an image of another split, such as 0.jpg"),
        ([0, 1], ["train", "train"], "WARNING", "1 image has the content of an image of another class, such as 0.jpg"),
        ([0, 0], ["train", "train"], "INFO", "1 image has the content of an image of their class, such as 0.jpg and 1.jpg"),
    ],
)  # fmt: skip
def test_copies_are_told_by_what_they_harm(
    labels: list[int], splits: list[str], level: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    digests = np.array([[1] * 16, [1] * 16, [0] * 16, [0] * 16], dtype=np.uint8)
    with caplog.at_level("INFO"):
        tell_copies(digests, np.array([*labels, 0, 1]), np.array([*splits, "train", "test"]), "x", lambda row: f"{row}.jpg")
    assert [record.levelname for record in caplog.records] == [level]
    assert said in caplog.text
