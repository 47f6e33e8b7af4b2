"""Table files: cells as text with the line of each row, and one sentence for each way in which a file is broken."""

import codecs
import os
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from ltrun.data.table_file import read_table
from ltrun.errors import DataError


def table(tmp_path: Path, content: str | bytes, name: str = "labels.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_table(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "image,label\na.jpg,ant\n\nb.jpg,bee\n"),
        ("a.csv", "image;label\r\na.jpg;ant\r\n\r\nb.jpg; bee\r\n"),
        ("a.tsv", "image\tlabel\na.jpg\tant\n\nb.jpg\tbee"),
        ("a.CSV", '"image","label"\n"a.jpg","ant"\n,\n"b.jpg","bee"\n'),
        ("a.csv", "\ufeffimage,label\na.jpg,ant\n\nb.jpg,bee\n"),
        ("a.jsonl", '{"image": "a.jpg", "label": "ant"}\n\n\n{"label": "bee", "image": "b.jpg", "box": [1, 2]}\n'),
    ],
)
def test_tables_of_all_kinds_hold_the_same_cells(tmp_path: Path, name: str, content: str) -> None:
    found = read_table(table(tmp_path, content, name))
    assert found.text("image") == ["a.jpg", "b.jpg"]
    assert found.text("label") == ["ant", "bee"]
    assert found.at(1) == "line 4"


def test_quoted_commas_and_line_breaks_are_parts_of_a_cell(tmp_path: Path) -> None:
    found = read_table(table(tmp_path, 'image,note,label\na.jpg,"one, two\nthree",ant\nb.jpg,"say ""x""",bee\n'))
    assert found.text("note") == ["one, two\nthree", 'say "x"']
    assert found.at(1) == "line 4"


def test_numbers_are_text_and_null_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    columns = {"label": [1.0, None, 2.5], "n": [1, 2, None], "word": ["NA", "", None], "flag": [True, False, None]}
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    found = read_table(path)
    assert found.text("label") == ["1", "", "2.5"]
    assert found.text("n") == ["1", "2", ""]
    assert found.text("word") == ["NA", "", ""]
    assert found.text("flag") == ["true", "false", ""]
    assert found.at(2) == "row 2"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty (0 bytes)"),
        (b"image,label\n", "has columns and no rows"),
        (b"\n\n", "has no header"),
        (b"a.jpg,ant\nb.jpg,bee\n", "has no header, as its first line names a.jpg: put image,label above it"),
        (b"image,label,label\na.jpg,1,2\n", "has two columns called 'label'"),
        (
            b"image,label\na.jpg,ant\nb.jpg,bee,fly\n",
            "line 3, has 3 of 2 cells that the header names: put a cell that holds ',' between",
        ),
        (b"image,label\na.jpg\n", "line 2, has 1 of 2 cells that the header names: fill in the others"),
        (b'image,label\na.jpg,"ant\nb.jpg,bee\n', "line 3, cannot be read (unexpected end of data)"),
        ("image,label\na.jpg,ant\nb.jpg,Bär\n".encode("latin-1"), "is not encoded as UTF-8 (byte 0xe4 in line 3)"),
        (codecs.BOM_UTF16_LE + "image,label\n".encode("utf-16-le"), "is encoded as UTF-16"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "holds zero bytes, so it is no text"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a Git LFS pointer"),
    ],
)
def test_a_broken_csv_file_is_refused_with_its_line(tmp_path: Path, content: bytes, said: str) -> None:
    assert said in refusal(table(tmp_path, content))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"image": "a.jpg"}\n{"image": "b.jpg"\n', "line 2, is not JSON (Expecting ',' delimiter)"),
        ('{"image": "a.jpg"}\n\n["b.jpg"]\n', "line 3, is no object"),
        ('[{"image": "a.jpg"},\n', "line 1, is not JSON"),
        ("[" * 100_000, "line 1, is not JSON (maximum recursion depth"),
        ("\n", "has no rows"),
        ("{}\n", "has no rows"),
    ],
)
def test_a_broken_line_of_json_is_refused_with_its_number(tmp_path: Path, content: str, said: str) -> None:
    assert said in refusal(table(tmp_path, content, "labels.jsonl"))


def test_a_cell_that_is_no_text_is_refused_with_its_line(tmp_path: Path) -> None:
    found = read_table(table(tmp_path, '{"image": "a.jpg", "label": 1}\n{"image": "b.jpg", "label": [1, 2]}\n', "a.jsonl"))
    assert found.text("image") == ["a.jpg", "b.jpg"]
    with pytest.raises(DataError, match=r"a\.jsonl, line 2: 'label' is a list, not one text or number"):
        found.text("label")


def test_a_truncated_parquet_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"image": ["a.jpg"] * 9, "label": [1] * 9}), path)
    path.write_bytes(path.read_bytes()[:-30])
    assert "cannot be read as parquet" in refusal(path)


def test_a_parquet_table_of_images_is_sent_to_the_data_set_for_them(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"image": [b"x"], "label": [1]}), path)
    with pytest.raises(DataError, match=r"holds images in its column 'image'.*dataset=parquet"):
        read_table(path).text("image")


def test_other_files_and_pipes_are_refused(tmp_path: Path) -> None:
    assert "is none of the tables that ltrun reads" in refusal(table(tmp_path, "x", "labels.txt"))
    assert "a spreadsheet program saves it as CSV" in refusal(table(tmp_path, "x", "labels.xlsx"))
    os.mkfifo(tmp_path / "pipe.csv")
    assert "is a pipe" in refusal(tmp_path / "pipe.csv")
