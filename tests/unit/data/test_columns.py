"""Columns of a table: found by their names in any spelling, or given; a column that is not there is refused by name."""

import pytest

from ltrun.data.columns import column, needed
from ltrun.errors import ConfigError


@pytest.mark.parametrize(
    ("role", "names", "found"),
    [
        ("image", ["id", "File Name", "y"], "File Name"),
        ("image", ["image_id", "label"], "image_id"),
        ("image", ["path", "image"], "image"),
        ("label", ["file", "Class", "species"], "Class"),
        ("label", ["img", "coarse_label", "fine_label"], "fine_label"),
        ("split", ["file", "Subset"], "Subset"),
        ("split", ["file", "label"], None),
    ],
)
def test_a_column_is_known_by_its_name(role: str, names: list[str], found: str | None) -> None:
    assert column(role, names, None, "labels.csv") == found


def test_a_given_column_is_taken_as_it_is_spelled() -> None:
    assert column("label", ["file", "label", "genus"], "genus", "labels.csv") == "genus"


def test_other_columns_that_might_be_meant_are_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        column("label", ["file", "species", "label"], None, "labels.csv")
    assert "labels.csv: the column 'label' holds the labels, not 'species' (dataset.label)" in caplog.messages


def test_a_given_column_that_is_not_there_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"dataset\.label: labels\.csv has no column 'lable'; did you mean 'label'\?"):
        column("label", ["file", "label"], "lable", "labels.csv")


def test_a_table_without_a_known_column_is_refused_with_all_names() -> None:
    with pytest.raises(ConfigError, match=r"dataset\.image: no column of labels\.csv is called .* one of number, label"):
        needed("image", ["number", "label"], None, "labels.csv")
