"""Every format holds the same numbers as the table, and no name breaks out of its cell."""

import csv
import io
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ltrun.report import Table, tables
from ltrun.report.render import FORMATS
from ltrun.report.render.csv import comma_separated
from ltrun.report.render.latex import latex
from ltrun.report.render.markdown import markdown
from ltrun.report.render.terminal import terminal
from tests.support.recorded import record

NASTY = r"a_b%c&d#e\f <script>alert(1)</script> $x$ ~^{} |p| *q* `r` [s](t) _u_"
DASH = "\N{EN DASH}"


@pytest.fixture
def sweep() -> list[Table]:
    """Returns tables with two data sets, several seeds, one seed, an empty group, further predictors and nasty names."""
    runs = [record(method, seed) for method in ("erm", "ldam") for seed in (0, 1, 2)]
    runs += [record("sade", seed, predictors={"plain": [], "aggregated": ["test_inputs"]}) for seed in (0, 1)]
    runs += [record("crt", changes={"reweighting": NASTY, "epochs": 3})]
    runs += [record(method, dataset="other_data", counts=[500, 300, 50]) for method in ("erm", "ldam")]
    return tables(runs)


def printed(table: Table) -> list[list[str]]:
    """Returns the text that the body of a table must have, from its unrounded numbers."""

    def cell(mean: float | None, std: float | None) -> str:
        return DASH if mean is None else f"{mean:.1f}" if std is None else f"{mean:.1f} ± {std:.1f}"

    return [[*row.names, *(cell(c.mean, c.std) for c in row.cells), str(row.n)] for row in table.rows]


# ------------------------------------------------------------------------------------------------------------ Markdown


def read_markdown(text: str) -> list[list[list[str]]]:
    """Returns the cells of each table, unescaped, without bold."""
    found: list[list[list[str]]] = []
    for block in re.findall(r"(?:^\|.*\|\n?)+", text, re.MULTILINE):
        rows = [re.split(r"(?<!\\) \| ", line.strip()[2:-2]) for line in block.splitlines()]
        found.append([[plain_markdown(cell) for cell in row] for row in rows])
    return found


def plain_markdown(cell: str) -> str:
    cell = re.sub(r"(?<!\\)\*\*", "", cell)
    assert not re.search(r"(?<!\\)[`*$]", cell)
    cell = re.sub(r"\\([^A-Za-z0-9\s])", r"\1", cell)
    return cell.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def test_markdown_reads_back(sweep: list[Table]) -> None:
    found = read_markdown(markdown(sweep))
    assert len(found) == len(sweep) == 2
    for (head, rule, *body), table in zip(found, sweep, strict=True):
        assert head == ["Method", "All", "Many", "Medium", "Few", "n"]
        assert rule == [":--", *["--:"] * 5]
        assert body == printed(table)


def test_markdown_escapes(sweep: list[Table]) -> None:
    text = markdown(sweep)
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert r"\|p\|" in text
    assert r"\_u\_" in text
    assert "### other_data" in text  # an underscore inside a word is not mark-up, and a reader may copy the word
    assert r"[s\](t)" in text  # not a link


def test_markdown_bold() -> None:
    lifts = {"erm": 0.0, "ldam": 0.2}
    (table,) = tables([record(method, seed, lift=lift, spread=0.01) for method, lift in lifts.items() for seed in range(3)])
    assert table.best(0) == {1}
    assert r"\mathbf" in latex([table])
    rows = markdown([table]).split("\n\n")[1].splitlines()[2:]
    for column in range(4):
        bold = {i for i, line in enumerate(rows) if "**" in re.split(r"(?<!\\) \| ", line)[column + 1]}
        assert bold == table.best(column)


# --------------------------------------------------------------------------------------------------------------- LaTeX


def read_latex(text: str) -> list[list[list[str]]]:
    found = []
    for block in re.findall(r"\\toprule\n(.*?)\\bottomrule", text, re.DOTALL):
        lines = [line.strip().removesuffix(r"\\").strip() for line in block.splitlines() if "&" in line]
        found.append([[plain_latex(cell) for cell in re.split(r"(?<!\\) & ", line)] for line in lines])
    return found


def plain_latex(cell: str) -> str:
    number = re.fullmatch(r"\$(?:\\(?:mathbf|underline)\{)?([0-9.]+)\}?(?: \\pm ([0-9.]+))?\$", cell)
    if number:
        return number[1] + (f" ± {number[2]}" if number[2] else "")
    words = {
        r"\textbackslash{}": "\\", r"\textasciitilde{}": "~", r"\textasciicircum{}": "^", r"\textless{}": "<",
        r"\textgreater{}": ">", r"\textbar{}": "|", "{[}": "[", "{]}": "]", r"$\cdot$": "·", r"$^\dagger$": "†", "$n$": "n",
    }  # fmt: skip
    pattern = "|".join(map(re.escape, [*words, *(rf"\{c}" for c in "_%&#${}")]))
    cell = re.sub(pattern, lambda match: words.get(match[0], match[0][-1]), cell)
    return DASH if cell == "--" else cell


def test_latex_reads_back(sweep: list[Table]) -> None:
    found = read_latex(latex(sweep))
    assert len(found) == 2
    for (head, *body), table in zip(found, sweep, strict=True):
        assert head == ["Method", "All", "Many", "Medium", "Few", "n"]
        assert body == printed(table)


def test_latex_escapes_every_special_character(sweep: list[Table]) -> None:
    text = latex(sweep)
    assert r"a\_b\%c\&d\#e\textbackslash{}f" in text
    body = text.replace(r"\par\footnotesize", "")
    for special in "%&#_":
        outside = re.sub(r"% needs .*|(?<!\\) & ", "", body)
        assert not re.search(rf"(?<!\\){special}", outside), special
    assert text.isascii()
    assert text.count("{") == text.count("}")
    assert r"\pm" in text
    for rule in (r"\toprule", r"\midrule", r"\bottomrule"):
        assert text.count(rule) == 2


def test_latex_rows_may_begin_with_a_bracket_after_a_line_break(sweep: list[Table]) -> None:
    runs = [record("erm", config={"blocks": blocks}) for blocks in ([1, 2], [3])]
    text = latex(tables(runs, by=["blocks"]))
    assert "{[}1,2{]} &" in text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX on this machine")
def test_latex_compiles(sweep: list[Table], tmp_path: Path) -> None:
    document = "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\n%s\\end{document}"
    (tmp_path / "a.tex").write_text(document % latex(sweep))
    subprocess.run(["pdflatex", "-halt-on-error", "a.tex"], cwd=tmp_path, check=True, capture_output=True)


# ----------------------------------------------------------------------------------------------------------------- CSV


def test_csv_reads_back_unrounded(sweep: list[Table]) -> None:
    lines = list(csv.DictReader(io.StringIO(comma_separated(sweep))))
    assert len(lines) == sum(4 * len(table.rows) for table in sweep)
    rest = iter(lines)
    for table in sweep:
        for row in table.rows:
            for column, cell in zip(table.columns, row.cells, strict=True):
                line = next(rest)
                assert (line["table"], line["metric"], line["split"]) == (table.title, "accuracy", "test")
                assert {key: line[key] for key in row.keys} == row.keys
                assert line["group"] == column.lower()
                assert (float(line["mean"]) if line["mean"] else None) == cell.mean
                assert (float(line["std"]) if line["std"] else None) == cell.std
                assert int(line["n"]) == cell.n
                assert line["saw_test_inputs"] == str(row.saw_test).lower()


def test_pandas_reads_the_csv_as_numbers(sweep: list[Table]) -> None:
    import pandas

    frame = pandas.read_csv(io.StringIO(comma_separated(sweep)))
    assert [frame[key].dtype.kind for key in ("mean", "std", "n")] == ["f", "f", "i"]
    first = frame[(frame.table == "cifar100_lt") & (frame.method == "erm") & (frame.group == "all")]
    assert first["mean"].item() == sweep[0].rows[0].cells[0].mean


def test_csv_by_keys() -> None:
    runs = [record("erm", seed, margin=margin) for seed in (0, 1) for margin in ("none", "ldam")]
    lines = list(csv.DictReader(io.StringIO(comma_separated(tables(runs, "error", by=["margin", "seed"])))))
    assert [(line["margin"], line["seed"]) for line in lines if line["group"] == "all"] == [
        ("ldam", "0"), ("ldam", "1"), ("none", "0"), ("none", "1"),
    ]  # fmt: skip
    assert {line["metric"] for line in lines} == {"error"}


# ------------------------------------------------------------------------------------------------------------ terminal


def test_terminal_reads_back_when_piped(sweep: list[Table], capsys: pytest.CaptureFixture[str]) -> None:
    terminal(sweep)
    out = capsys.readouterr().out
    assert "\x1b" not in out
    lines = [re.split(r"\s{2,}", line.strip()) for line in out.splitlines()]
    for table in sweep:
        assert any(line[0] == table.title for line in lines)
        for row in printed(table):
            assert row in lines
        assert table.caption in out


def test_names_do_not_control_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    runs = [record("erm", changes={"a": "\x1b[2J\r\n\x07 [bold]x[/bold] :smile: \ud800"})]
    terminal(tables(runs))
    out = capsys.readouterr().out
    assert not set(out) & set("\x1b\r\x07\ud800")
    assert "[bold]x[/bold] :smile:" in out
    for render in FORMATS.values():
        text = render(tables(runs))
        text.encode()
        assert not set(text) & set("\x1b\r\x07")


def test_no_name_of_a_metric_breaks_out_of_its_cell(capsys: pytest.CaptureFixture[str]) -> None:
    """The name may come from a foreign record."""
    name = NASTY + " [bold]\x1b[2J\n"
    run = record()
    run.predictors["plain"]["splits"]["test"][name] = 0.5
    found = tables([run], name)
    terminal(found)
    assert "[bold]?[2J" in capsys.readouterr().out
    assert all(len(row) == 3 for row in read_markdown(markdown(found))[0]) and "<script" not in markdown(found)
    assert all(len(row) == 3 for row in read_latex(latex(found))[0]) and r"a\_b\%c" in latex(found)
    (line,) = csv.DictReader(io.StringIO(comma_separated(found)))
    assert line["metric"] == name.replace("\n", " ").replace("\x1b", "?") and line["group"] == line["metric"].lower()


def test_fewer_runs_than_the_row_has_are_stated() -> None:
    runs = [record(seed=0), record(seed=1)]
    runs[1].predictors["plain"]["splits"]["test"]["few"] = None
    assert "(n=1)" in markdown(tables(runs))
    assert "(n=1)" in latex(tables(runs))
