"""Critical-difference diagrams: ranks over data sets, groups that cannot be told apart, files, and refusals."""

import json
from pathlib import Path

import numpy as np
import pytest

from ltrun.cli import dispatch
from tests.support.predicted import save_run

LABELS = np.repeat(np.arange(2), 10)
DATA_SETS = ("cifar10_lt", "cifar100_lt", "places_lt", "imagenet_lt", "inat18")
RIGHT = {"erm": 8, "ldam": 12, "crt": 13}  # test images that a method gets right


def train(outputs: Path, data_sets: tuple[str, ...], right: dict[str, int]) -> None:
    for data_set in data_sets:
        for method, number in right.items():
            scores = np.eye(2, dtype=np.float32)[np.where(np.arange(20) < number, LABELS, 1 - LABELS)]
            save_run(outputs, LABELS, {"plain": scores}, [500, 5], method=method, dataset=data_set)


def compare(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, str, str]:
    code = dispatch(["compare", "erm", "ldam", "crt", *map(str, argv)])
    return (code, *capsys.readouterr())


def test_ranks_groups_and_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    train(tmp_path, DATA_SETS, RIGHT)
    for ending, begins in (("svg", b"<?xml"), ("pdf", b"%PDF"), ("PNG", b"\x89PNG")):
        file = tmp_path / "figures" / f"cd.{ending}"
        code, out, err = compare(capsys, "--in", tmp_path, "--diagram", file, "--json")
        assert code == 0 and f"{file.with_suffix('.' + ending.lower())} written" in err
        assert file.with_suffix("." + ending.lower()).read_bytes().startswith(begins)
    found = json.loads(out)["ranking"]
    assert found["ranks"] == {"cRT": 1, "LDAM": 2, "ERM": 3} and found["friedman_p"] < 0.01
    assert found["critical_difference"] == pytest.approx(2.344 * (12 / 30) ** 0.5, abs=1e-3)
    assert found["cliques"] == [["cRT", "LDAM"], ["LDAM", "ERM"]], "ranks 1 apart are not told apart by five data sets"


def test_error_ranks_the_lowest_first_and_text_names_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    train(tmp_path, DATA_SETS[:3], RIGHT)
    code, out, _ = compare(capsys, "--in", tmp_path, "--metric", "error", "--diagram", tmp_path / "cd.svg")
    assert code == 0 and "Average ranks over 3 data sets" in out and "cRT 1.00, LDAM 2.00, ERM 3.00." in out
    assert "with fewer than 5 data sets" in out


def test_rows_that_are_alike_form_one_group(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    train(tmp_path, DATA_SETS[:2], dict.fromkeys(RIGHT, 9))
    code, out, _ = compare(capsys, "--in", tmp_path, "--diagram", tmp_path / "cd.svg")
    assert code == 0 and "ERM 2.00, LDAM 2.00, cRT 2.00." in out and "Cannot be told apart: ERM, LDAM, cRT." in out


def test_one_data_set_and_other_endings_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    train(tmp_path, DATA_SETS[:1], RIGHT)
    code, out, err = compare(capsys, "--in", tmp_path, "--diagram", tmp_path / "cd.svg")
    assert code == 1 and out == "" and "ranks need two data sets or more" in err and "there is cifar10_lt" in err
    code, _, err = compare(capsys, "--in", tmp_path, "--diagram", tmp_path / "cd.jpg")
    assert code == 1 and "name a file that ends in .pdf, .svg, .png" in err
