"""Predictions of images as CSV, JSON and Parquet: cells of spreadsheets, problems, files that appear whole."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyarrow import parquet

from ltrun.report.render.predicted import TEXTS, Guess, write

GUESSES = [
    Guess("=1+1.png", ("@sum", "bee"), (0.75, 0.25)),
    Guess("\udcff.png", problem="is empty (0 bytes)"),
    Guess("b.png", ("bee", "@sum"), (0.9, 0.1)),
]


def test_no_cell_of_a_csv_is_a_formula() -> None:
    out = io.StringIO()
    TEXTS["csv"](GUESSES, 2, out)
    rows = list(csv.reader(io.StringIO(out.getvalue())))
    assert rows[0] == ["image", "class", "probability", "class_2", "probability_2", "problem"]
    assert rows[1] == ["'=1+1.png", "'@sum", "0.75", "bee", "0.25", ""]
    assert rows[2][1:] == ["", "", "", "", "is empty (0 bytes)"]
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row)


@pytest.mark.parametrize("count", [0, 3])
def test_json_is_a_list_of_images(count: int) -> None:
    out = io.StringIO()
    TEXTS["json"](GUESSES[:count], 2, out)
    found = json.loads(out.getvalue())
    assert len(found) == count
    if count:
        assert found[0]["predictions"] == [{"class": "@sum", "probability": 0.75}, {"class": "bee", "probability": 0.25}]
        assert found[1]["problem"] == "is empty (0 bytes)" and "predictions" not in found[1]


SEVERAL = [
    Guess("a.png", ("@sum", "bee"), (0.75, 0.6)),
    Guess("b.png", ("bee", "ant"), (0.4, 0.25), below=True),
    Guess("c.png", problem="is empty (0 bytes)"),
]


def test_several_labels_are_lists_and_the_likeliest_stand_apart(tmp_path: Path) -> None:
    out = io.StringIO()
    TEXTS["csv"](SEVERAL, None, out)
    head, *rows = list(csv.reader(io.StringIO(out.getvalue())))
    assert head == ["image", "labels", "probabilities", "likeliest", "likeliest_probabilities", "problem"]
    assert rows[0] == ["a.png", "'@sum;bee", "0.75;0.6", "", "", ""]
    assert rows[1] == ["b.png", "", "", "bee;ant", "0.4;0.25", ""] and rows[2][1:] == ["", "", "", "", "is empty (0 bytes)"]
    out = io.StringIO()
    TEXTS["json"](SEVERAL, None, out)
    found = json.loads(out.getvalue())
    assert [each["class"] for each in found[0]["predictions"]] == ["@sum", "bee"] and "likeliest" not in found[0]
    assert found[1]["predictions"] == [] and [each["class"] for each in found[1]["likeliest"]] == ["bee", "ant"]
    write(SEVERAL, None, tmp_path / "out.parquet", "parquet")
    table = parquet.read_table(tmp_path / "out.parquet").to_pydict()
    assert table["labels"] == [["@sum", "bee"], [], None] and table["likeliest"] == [[], ["bee", "ant"], None]
    assert [guess.line for guess in SEVERAL[:2]] == [
        "a.png: @sum 75.0%, bee 60.0%",
        "b.png: none above 50%; likeliest: bee 40.0%, ant 25.0%",
    ]


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_a_file_appears_whole_or_not_at_all(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "new" / f"out.{kind}"
    write(GUESSES, 2, file, kind)
    before = file.read_bytes()

    def broken() -> Iterator[Guess]:
        yield GUESSES[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(broken(), 2, file, kind)
    assert file.read_bytes() == before and [path.name for path in file.parent.iterdir()] == [file.name]
    if kind == "parquet":
        table = parquet.read_table(file).to_pydict()
        assert table["class"] == ["@sum", None, "bee"] and table["image"][1] == "\\udcff.png"
        assert table["probability_2"][1] is None and table["problem"] == [None, "is empty (0 bytes)", None]
