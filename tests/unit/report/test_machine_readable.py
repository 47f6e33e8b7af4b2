"""JSON and CSV for programs: unrounded, complete, with typed names, harmless in a spreadsheet; labels for LaTeX."""

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ltrun.commands.report import main
from ltrun.report import tables
from ltrun.report.render import FORMATS
from tests.support.recorded import record

Capture = pytest.CaptureFixture[str]


def strict(text: str) -> Any:
    """Reads JSON, and refuses NaN, which RFC 8259 does not have."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    return json.loads(text, parse_constant=refuse)


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    for i, (method, lift) in enumerate((("erm", 0.0), ("balanced_softmax", 0.1))):
        for seed in (0, 1, 2):
            record(method, seed, lift=lift, spread=0.02, counts=[500, 400, 50]).save(tmp_path / "outputs" / f"{i}{seed}")
    record("sade", predictors={"plain": [], "agg": ["test_inputs"]}, dataset="other").save(tmp_path / "outputs" / "sade")
    return tmp_path / "outputs"


def test_json_holds_numbers_runs_and_notes(outputs: Path, capsys: Capture) -> None:
    assert main([str(outputs), "--json"]) == 0
    out, err = capsys.readouterr()
    content = strict(out)
    assert err == "" and out.isascii() and content["format"] == 1
    one, other = content["tables"]
    assert (one["title"], one["heading"], one["task"], one["split"]) == ("cifar100_lt", "CIFAR-100-LT", "single_label", "test")
    assert one["metric"] == {"name": "accuracy", "title": "Top-1 accuracy"}
    assert [(c["key"], c["head"], c["unit"], c["better"]) for c in one["columns"]] == [
        ("accuracy", "All", "%", "higher"), ("many", "Many", "%", "higher"), ("medium", "Medium", "%", "higher"),
        ("few", "Few", "%", "higher"),
    ]  # fmt: skip
    assert one["columns"][0]["best"]["verdict"] == "better" and one["columns"][0]["best"]["row"] == 1
    assert 0 < one["columns"][0]["best"]["p"] < 0.05 and one["columns"][3]["best"] is None
    erm, balanced = one["rows"]
    assert balanced["names"] == ["Balanced Softmax"] and balanced["keys"]["method"] == "balanced_softmax"
    assert erm["cells"][3] == {"mean": None, "std": None, "n": 0, "values": []}, "no class has few images"
    cell = erm["cells"][0]
    assert cell["n"] == erm["n"] == 3 and sum(cell["values"]) / 3 == pytest.approx(cell["mean"], rel=1e-15)
    assert len(repr(cell["mean"])) > 8
    for row in (erm, balanced):
        for run in row["runs"]:
            saved = json.loads(Path(run["path"]).read_text())
            assert (saved["seed"], saved["fingerprint"]) == (run["seed"], run["fingerprint"])
            assert 100 * saved["predictors"][run["predictor"]]["splits"]["test"]["accuracy"] in row["cells"][0]["values"]
    assert [row["saw_test_inputs"] for row in other["rows"]] == [False, True] and "† saw test inputs" in other["notes"]
    assert other["columns"][0]["best"] is None, "one row may be compared"


def test_json_of_one_seed_and_of_costs(outputs: Path, capsys: Capture) -> None:
    assert main([str(outputs / "00"), str(outputs / "10"), "--json"]) == 0
    (table,) = strict(capsys.readouterr().out)["tables"]
    assert table["columns"][0]["best"] == {"row": 1, "second": 0, "p": None, "verdict": "one run"}
    assert table["rows"][0]["cells"][0]["std"] is None
    assert main([str(outputs), "--json", "--metric", "cost"]) == 0
    table = strict(capsys.readouterr().out)["tables"][0]
    assert {column["unit"] for column in table["columns"]} == {None} == {column["best"] for column in table["columns"]}


def test_json_has_the_keys_of_by_and_odd_names(capsys: Capture) -> None:
    runs = [replace(record(config={"slots": [], "a": value}), method='erm \ud800 "\n') for value in ("x\\", "\u00e4")]
    (table,) = strict(FORMATS["json"](tables(runs, by=["method", "a"])))["tables"]
    assert table["keys"] == ["method", "a"]
    assert [row["keys"] for row in table["rows"]] == [{"method": 'erm \ud800 "\n', "a": a} for a in ("x\\", "\u00e4")]
    assert [run["path"] for row in table["rows"] for run in row["runs"]] == [None, None]


def test_csv_has_printed_and_typed_names(outputs: Path, capsys: Capture) -> None:
    assert main([str(outputs), "--csv"]) == 0
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {(line["name"], line["method"]) for line in lines} >= {("ERM", "erm"), ("Balanced Softmax", "balanced_softmax")}


@pytest.mark.parametrize("name", ["=HYPERLINK(1)", "+1+1", "-2+3", "@SUM(A1)"])
def test_no_name_is_a_formula_of_a_spreadsheet(name: str) -> None:
    text = FORMATS["csv"](tables([record(name, dataset=name, config={"slots": [], "a": name})], by=["method", "a"]))
    for line in csv.reader(io.StringIO(text)):
        assert not [cell for cell in line if cell.startswith(("=", "+", "-", "@"))]
    (found,) = [row for row in csv.DictReader(io.StringIO(text)) if row["group"] == "all"]
    assert found["method"] == found["a"] == f"'{name}"


def test_numbers_below_zero_stay_numbers() -> None:
    runs = [record(config={"slots": [], "a": value}) for value in (-1, -0.5e-3)]
    lines = list(csv.DictReader(io.StringIO(FORMATS["csv"](tables(runs, by=["a"])))))
    assert sorted({float(line["a"]) for line in lines}) == [-1, -0.0005]


def test_latex_labels_are_safe_and_unique() -> None:
    runs = [record(dataset=name) for name in ("a_b", "a b", "a%b}", "cifar100_lt")]
    text = FORMATS["latex"](tables(runs))
    labels = re.findall(r"\\label\{(.*)\}", text)
    assert labels == ["tab:a-b-accuracy", "tab:a-b-accuracy-2", "tab:a-b-accuracy-3", "tab:cifar100-lt-accuracy"]
    assert text.index(r"\caption") < text.index(r"\label") < text.index(r"\begin{tabular}")
    assert r"\label{tab:cifar100-lt-error-val}" in FORMATS["latex"](tables([record(splits=("val",))], "error", "val"))


def test_latex_has_the_names_that_papers_use() -> None:
    text = FORMATS["latex"](tables([record(method) for method in ("balanced_softmax", "crt", "ldam_drw", "tau_norm")]))
    for name in ("Balanced Softmax &", "cRT &", "LDAM-DRW &", r"$\tau$-norm &"):
        assert f"    {name}" in text
    assert r"\caption{CIFAR-100-LT. " in text and r"\label{tab:cifar100-lt-accuracy}" in text
    assert r"\_softmax" not in text and text.isascii()
    assert r"a{-}-b" not in text and r"a-{-}b" in FORMATS["latex"](tables([record("a--b")]))


def test_a_latex_table_of_two_hundred_rows_breaks_across_pages() -> None:
    text = FORMATS["latex"](tables([record(f"method_{i}") for i in range(200)]))
    assert text.startswith(r"% needs \usepackage{booktabs} and \usepackage{longtable}") and r"\begin{table}" not in text
    assert text.count(r"method\_") == 200 and text.count(r"\toprule") == 2 and text.count(r"\bottomrule") == 1
    order = [r"\begin{longtable}", r"\caption", r"\label", r"\endfirsthead", r"\endhead", r"method\_0 &", r"\end{longtable}"]
    places = [text.index(word) for word in order]
    assert places == sorted(places) and text.count("{") == text.count("}")
