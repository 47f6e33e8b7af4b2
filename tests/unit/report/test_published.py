"""Published numbers beside ours, citations and their .bib."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest

from ltrun.commands.report import main
from ltrun.config import catalogue
from ltrun.report import tables
from ltrun.report.bibliography import bibliography, cited
from ltrun.report.published import published_of, with_published
from ltrun.report.render import FORMATS
from ltrun.report.render.latex import latex
from ltrun.results.address import address
from tests.support.recorded import record


def test_the_number_of_the_preset_is_beside_the_row() -> None:
    runs = [record("ldam_drw", 0), record("erm", 0), record("erm", 0, changes={"epochs": 3}), record("mine", 0)]
    (table,) = with_published(tables(runs))
    beside = {row.keys["method"]: row.beside for row in table.rows}
    mean = {row.keys["method"]: row.cells[0].mean for row in table.rows}
    for method, number in (("ldam_drw", 42.0), ("erm", 38.3)):
        gap = f"{(mean[method] or 0) - number:+.1f}".replace("-", "\N{MINUS SIGN}")
        assert beside[method] == (f"{number}", gap)
    assert beside["erm [epochs=3]"][1].endswith("*") and any("epochs=3" in note for note in table.notes)
    assert beside["mine"] == ("\N{EN DASH}", "\N{EN DASH}")


def test_a_number_is_for_its_data_alone() -> None:
    runs = [record("erm", changes={"dataset.imbalance": 50}), record("erm", dataset="digits_lt")]
    assert [published_of(table.rows[0]) for table in tables(runs)] == [None, None]
    (table,) = tables([record("sade", dataset="inat18")])
    told = published_of(table.rows[0])
    assert told is not None and told.value == 72.9 and "ResNet-50" in told.text


def test_a_further_predictor_and_a_row_of_several_methods_have_none() -> None:
    runs = [record("erm", predictors={"plain": [], "other": []}), record("ldam_drw")]
    rows = tables(runs)[0].rows
    assert [published_of(row) is None for row in rows] == [False, True, False]
    assert published_of(tables(runs, by=["dataset"])[0].rows[0]) is None


@pytest.mark.parametrize("name", ["markdown", "latex", "csv", "json", ""])
def test_every_format_shows_it(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    for seed in (0, 1):
        run = record("ldam_drw", seed)
        run.save(address(tmp_path, run.dataset, run.method, run.fingerprint, run.seed))
    assert main([str(tmp_path), "--published", *([f"--{name}"] if name else [])]) == 0
    out = capsys.readouterr().out
    if name == "csv":
        lines = list(csv.DictReader(io.StringIO(out)))
        assert [line["published"] for line in lines] == ["42.0", "", "", ""] and float(lines[0]["gap"]) < 40
    elif name == "json":
        assert json.loads(out)["tables"][0]["rows"][0]["published"] == "42.0"
    else:
        assert "Published" in out and "42.0" in out and "Gap" in out


def test_the_second_is_underlined_where_the_best_is_bold() -> None:
    runs = [
        record(method, seed, lift=lift, spread=0.001) for seed in (0, 1, 2) for method, lift in (("erm", 0.0), ("crt", 0.1))
    ]
    text = latex(tables(runs))
    erm, crt = (next(line for line in text.splitlines() if name in line) for name in ("ERM", "cRT"))
    assert erm.count(r"\underline") == 4 and crt.count(r"\mathbf") == 4 and "underlined: the second best" in text
    assert r"\underline" not in latex(tables(runs[:2]))
    assert "underline" not in FORMATS["markdown"](tables(runs))


def test_papers_are_cited_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for method in ("crt", "lws", "erm", "mine"):
        run = record(method)
        run.save(address(tmp_path, run.dataset, run.method, run.fingerprint, run.seed))
    assert main([str(tmp_path), "--latex", "--bib", str(tmp_path / "refs.bib")]) == 0
    text, bib = capsys.readouterr().out, (tmp_path / "refs.bib").read_text()
    used = set(re.findall(r"\\cite\{([^}]+)\}", text))
    assert used == set(re.findall(r"@misc\{([^,]+),", bib)) and len(used) == 2
    assert text.count(r"~\cite{kang2020-1910.09217}") == 2 and "eprint = {1910.09217}" in bib
    assert "author = {Kang and others}" in bib


def test_every_preset_with_a_paper_has_an_entry() -> None:
    cite = {option.name: option.citation for option in catalogue.options("method") if option.citation}
    papers = cited(tables([record(method) for method in cite]))
    assert [method for method in cite if not papers[method]] == []
    text = bibliography(papers)
    assert text.count("{") == text.count("}") and all(
        re.fullmatch(r"[a-z0-9.-]+", key) for each in papers.values() for key in each
    )
