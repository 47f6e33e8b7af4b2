"""Labels of a table: names and numbers, the order of their classes, and labels that are refused with their line."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from ltrun.data.labels import Column, classes_of, read_names
from ltrun.errors import DataError

COLUMN = Column("labels.csv", "label", lambda row: f"line {row + 2}")


def found(
    cells: Sequence[str], known: Sequence[str] = (), trained: Sequence[bool] | None = None
) -> tuple[list[int], list[str]]:
    mask = np.ones(len(cells), dtype=bool) if trained is None else np.array(trained)
    labels, names = classes_of(cells, mask, known, COLUMN)
    return labels.tolist(), list(names)


def refusal(cells: Sequence[str], known: Sequence[str] = (), trained: Sequence[bool] | None = None) -> str:
    with pytest.raises(DataError) as caught:
        found(cells, known, trained)
    return str(caught.value)


def test_names_are_sorted() -> None:
    assert found(["cat", "ant", "cat", "bee"]) == ([2, 0, 2, 1], ["ant", "bee", "cat"])


def test_numbers_are_in_numerical_order_from_any_first_number() -> None:
    assert found(["10", "2", "1", "2"]) == ([2, 1, 0, 1], ["1", "2", "10"])


def test_spellings_of_one_number_are_one_class() -> None:
    assert found(["1", "01", "1.0", "2"]) == ([0, 0, 0, 1], ["1", "2"])


def test_a_number_among_names_is_a_name() -> None:
    assert found(["7", "seven", "7", "70"]) == ([0, 2, 0, 1], ["7", "70", "seven"])


def test_numbers_count_from_0_where_the_names_are_known() -> None:
    assert found(["1", "0", "1"], ["bee", "ant"]) == ([1, 0, 1], ["bee", "ant"])
    assert found(["ant", "bee", "ant"], ["bee", "ant"]) == ([1, 0, 1], ["bee", "ant"])


def test_accents_match_however_they_are_encoded() -> None:
    assert found(["B\u00e4r", "Ba\u0308r", "Ant"]) == ([1, 1, 0], ["Ant", "B\u00e4r"])


def test_classes_without_images_are_left_out_and_named(caplog: pytest.LogCaptureFixture) -> None:
    assert found(["0", "2", "2"], ["ant", "bee", "cat"]) == ([0, 1, 1], ["ant", "cat"])
    assert "has no images of class 'bee': left out, with 2 classes left" in caplog.text


@pytest.mark.parametrize("cell", ["nan", "NaN", "N/A", "#N/A", "#REF!", "<NA>", "null"])
def test_a_name_that_programs_write_into_empty_cells_is_told(cell: str, caplog: pytest.LogCaptureFixture) -> None:
    assert found(["1", cell, "1", cell])[1] == sorted(["1", cell])
    assert f"labels.csv, line 3: the label '{cell}' is taken for a class" in caplog.text


def test_a_class_of_nothing_is_a_class(caplog: pytest.LogCaptureFixture) -> None:
    assert found(["none", "crack", "Nantes", "none"])[1] == ["Nantes", "crack", "none"]
    assert not caplog.text


def test_names_that_differ_in_case_are_told(caplog: pytest.LogCaptureFixture) -> None:
    assert found(["ant", "Ant", "ant"]) == ([1, 0, 1], ["Ant", "ant"])
    assert "the classes 'ant' and 'Ant' differ only in case" in caplog.text


@pytest.mark.parametrize(
    ("cells", "known", "said"),
    [
        (["a", "", "b", ""], [], "labels.csv, line 3: the label 'label' is empty, as in 1 more"),
        (["0", "3", "1"], ["a", "b", "c"], "line 3: the label 3 is outside the 3 classes, which are numbered"),
        (["1", "2", "3"], ["a", "b", "c"], "line 4: the label 3 is outside the 3 classes, which are numbered from 0 to 2: "),
        (["0", "1", "-1"], [], "line 4: the label -1 is below 0, as for an image without a class"),
        (["ant", "bee", "be"], ["ant", "bee"], "line 4: the label 'be' is none of the 2 classes; did you mean 'bee'?"),
        (["a\x07", "b"], [], r"line 2: the label 'a\x07' cannot be printed"),
        (["a", "a", "a"], [], "holds a single class, 'a'"),
        (["17", "18", "19"], [], "each row has another label in 'label', so it seems to identify images"),
    ],
)  # fmt: skip
def test_labels_that_no_training_could_use_are_refused(cells: list[str], known: list[str], said: str) -> None:
    assert said in refusal(cells, known)


def test_a_class_without_training_images_is_refused() -> None:
    said = "line 4: the class 'bee' has no training image, but 2 in other splits"
    assert said in refusal(["ant", "cat", "bee", "bee", "ant"], trained=[True, True, False, False, True])


def test_names_of_classes_are_read_a_line_each(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_bytes(b"\xef\xbb\xbfant\r\n  bee, honey\r\n\r\n")
    assert read_names(path) == ("ant", "bee, honey")


def test_a_file_of_names_that_is_not_there_names_its_key(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.txt cannot be read \(No such file or directory\): .* dataset.names=FILE"):
        read_names(tmp_path / "none.txt")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty (0 bytes)"),
        (b"ant\n\nbee\n", "line 2, is empty"),
        (b"ant\nbee\nant\n", "line 3, names 'ant' again"),
        (b"ant\n", "holds 1 class names"),
        (b"ant\nb\xe4r\n", "is not encoded as UTF-8"),
        (b"ant\nb\x07\n", "line 2, cannot be printed"),
    ],
)
def test_a_broken_file_of_names_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "names.txt"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_names(path)
    assert said in str(caught.value)
