"""The page's file: content, escapes, damaged folders, refusals of the command."""

from __future__ import annotations

import json
import re
import shlex
from base64 import b64decode
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ltrun.cli import dispatch
from ltrun.commands.report import main
from ltrun.report.page.contents import Asked
from ltrun.report.page.write import watch
from ltrun.results.model import Trained
from tests.support.page_runs import labels_of, saved

NASTY = "</script><script>alert(1)</script><!-- \u2028 & \" ' {{data}}"
Capture = pytest.CaptureFixture[str]


def parts(file: Path) -> dict[str, Any]:
    """Returns id -> content of each JSON element of a page."""
    found = re.findall(r'<script type="application/json" id="(\w+)">(.*?)</script>', file.read_text(), re.DOTALL)
    return {name: json.loads(text) for name, text in found}


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    for method, lift in (("erm", 0.0), ("ldam_drw", 0.1)):
        for seed in (0, 1, 2):
            saved(tmp_path / "outputs", method, seed, lift)
    saved(tmp_path / "outputs", "crt", 0)
    return tmp_path / "outputs"


def test_the_page_holds_the_rows_and_their_details(outputs: Path, tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "new" / "page.html"
    assert main([str(outputs), "--html", str(file)]) == 0
    assert "7 runs" in capsys.readouterr().out
    found = parts(file)
    (table,) = found["data"]["tables"]
    assert [row["names"] for row in table["rows"]] == [["ERM"], ["cRT"], ["LDAM-DRW"]]
    erm, crt, _ = table["rows"]
    assert (erm["of"], len(erm["seeds"]), crt["of"], len(crt["seeds"])) == (3, 3, 3, 1)
    assert erm["published"]["number"] == "38.3"
    ours = np.mean(erm["values"]["test"]["accuracy"])
    assert float(erm["published"]["gap"].replace("\N{MINUS SIGN}", "-")) == pytest.approx(ours - 38.3, abs=0.051)
    detail = found[erm["id"]]
    run = np.load(next(outputs.glob("cifar100_lt/erm/*/seed0/predictions.npz")))
    hits = run["test_scores_plain"].argmax(1) == run["test_labels"]
    bits = np.unpackbits(np.frombuffer(b64decode(detail["hits"]["0"]), np.uint8))[: len(hits)].astype(bool)
    assert (bits == hits).all()
    labels = np.frombuffer(b64decode(table["images"]["labels"]), "<u2")
    assert (labels == labels_of(table["classes"]["counts"])).all()
    assert sum(bin[0] for bin in detail["reliability"]) == 3 * len(hits)
    assert sum(bin[0] * bin[2] for bin in detail["reliability"]) == pytest.approx(ours / 100 * 3 * len(hits), abs=0.1)
    assert [round(sum(row[0:1]), 1) for row in detail["confusion"]] == pytest.approx(
        [np.mean(erm["values"]["test"][group]) for group in ("many", "medium", "few")], abs=0.06
    )
    yaml = [found["data"]["lines"][i] for i in detail["yaml"]]
    assert "epochs: 4" in yaml and "  rates: [0.1, 0.2]" in yaml
    assert detail["runs"][0]["command"] == "ltrun method=erm seed=0 dataset=cifar100_lt"
    assert detail["norms"] is None and len(detail["training"][0]["loss"]) == 4


def test_the_norms_of_a_kept_model(outputs: Path, tmp_path: Path) -> None:
    weight = torch.arange(8.0)[:, None].expand(8, 4) / 2
    for folder in outputs.glob("cifar100_lt/erm/*/seed*"):
        Trained(folder.parent.name, int(folder.name[4:]), (1, 8, 8), {"head.weight": weight.clone()}, {}).save(folder)
    next(outputs.glob("cifar100_lt/ldam_drw/*/seed0")).joinpath("model.pth").write_bytes(b"broken")
    assert main([str(outputs), "--html", str(tmp_path / "page.html")]) == 0
    found = parts(tmp_path / "page.html")
    erm, _, ldam = (found[row["id"]] for row in found["data"]["tables"][0]["rows"])
    assert erm["norms"] == pytest.approx(list(range(8)))
    assert ldam["norms"] is None and "model.pth is damaged" in ldam["notes"][0]


def test_names_stay_text(tmp_path: Path) -> None:
    saved(tmp_path, "erm", 0, name=NASTY)
    saved(tmp_path, "crt", 0, name=NASTY, changes={"reweighting": NASTY})
    assert main([str(tmp_path), "--html", str(tmp_path / "page.html")]) == 0
    text = (tmp_path / "page.html").read_text()
    assert text.count("<script>") == 1 and "alert(1)</script>" not in text
    (table,) = parts(tmp_path / "page.html")["data"]["tables"]
    assert table["classes"]["names"][0] == NASTY.replace("\u2028", " ")
    assert not re.search(r"""(src|href)\s*=|@import|url\(|https?://(?!www\.w3\.org/2000/svg)""", text)


def test_a_damaged_line_of_an_epoch_loses_only_itself(outputs: Path, tmp_path: Path) -> None:
    file = next(outputs.glob("cifar100_lt/erm/*/seed0")) / "metrics.jsonl"
    first, *others = file.read_bytes().splitlines(keepends=True)
    bad = [
        b'{"stage": "train", "epoch": 2, "loss": \xff\n',
        b"[1]\n",
        b'{"stage": "train", "epoch": 2, "loss": NaN}\n',
        b'{"stage"',
    ]
    file.write_bytes(b"".join([first, *bad[:2], *others, *bad[2:]]))
    assert main([str(outputs), "--html", str(tmp_path / "page.html")]) == 0
    found = parts(tmp_path / "page.html")
    curve, whole, _ = found[found["data"]["tables"][0]["rows"][0]["id"]]["training"]
    assert [x for x, _ in curve["loss"]] == [x for x, _ in whole["loss"]] == [1, 2, 3, 4] and curve["epochs"] == 5


def test_damaged_files_leave_their_part_out(outputs: Path, tmp_path: Path, capsys: Capture) -> None:
    folder = next(outputs.glob("cifar100_lt/erm/*/seed0"))
    (folder / "predictions.npz").write_bytes(b"PK")
    (folder / "metrics.jsonl").write_text('[1]\n{"stage"')
    other = next(outputs.glob("cifar100_lt/erm/*/seed1"))
    (other / "result.json").write_text("{")
    (outputs / "cifar100_lt" / "erm" / folder.parent.name / "seed9").mkdir()
    assert main([str(outputs), "--html", str(tmp_path / "page.html")]) == 0
    assert "not in the tables" in capsys.readouterr().err
    found = parts(tmp_path / "page.html")
    row = found["data"]["tables"][0]["rows"][0]
    assert row["seeds"] == [0, 2] and row["of"] == 3
    detail = found[row["id"]]
    assert list(detail["hits"]) == ["2"] and detail["training"][0] is None and "predictions.npz" in detail["notes"][0]
    assert any("result.json is damaged" in problem for problem in found["data"]["problems"])
    assert str(tmp_path) not in (tmp_path / "page.html").read_text()
    for file in outputs.rglob("predictions.npz"):
        file.unlink()
    assert main([str(outputs), "--html", str(tmp_path / "page.html")]) == 0
    assert parts(tmp_path / "page.html")["data"]["tables"][0]["images"] is None


def test_other_files_are_not_replaced(outputs: Path, tmp_path: Path, capsys: Capture) -> None:
    result = next(outputs.rglob("result.json"))
    before = result.read_bytes()
    assert main([str(outputs), "--html", str(result)]) == 1 and result.read_bytes() == before
    assert main([str(outputs), "--html", str(outputs)]) == 1
    (tmp_path / "empty").mkdir()
    assert main([str(tmp_path / "empty"), "--html", str(tmp_path / "page.html")]) == 1
    said = capsys.readouterr().err
    assert said.count("is not a page") == 2 and "no finished run" in said and not (tmp_path / "page.html").exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--watch"], "--html FILE"),
        (["--html", "x.html", "--per-class"], "leave those flags out"),
        (["--bib", "x.bib"], "add --latex"),
        (["--published", "--metric", "ece"], "leave out --metric"),
        (["--html", "x.html", "--metric", "nothing"], "no run has a metric 'nothing'"),
    ],
)
def test_contradictions_are_one_sentence(outputs: Path, capsys: Capture, flags: list[str], said: str) -> None:
    assert main([str(outputs), *flags]) == 1
    out, err = capsys.readouterr()
    assert out == "" and said in err and not Path("x.html").exists()


def test_a_watched_page_is_written_again_until_all_runs_have_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs, file = tmp_path / "outputs", tmp_path / "page.html"
    begun = outputs / "cifar100_lt" / "crt" / "0123abcd" / "seed0"

    def pass_time(seconds: float) -> None:
        """Each pause is the next event of a sweep."""
        event = next(events, None)
        assert event is not None, "the page watches on"
        event()

    def end() -> None:
        (begun / "error.log").write_text("the loss is not finite")

    def begin() -> None:
        begun.mkdir(parents=True)
        (begun / "metrics.jsonl").write_text('{"stage": "train", "epoch": 1}\n')

    events = iter([begin, lambda: None, lambda: saved(outputs, "erm", 0), end])
    monkeypatch.setattr("ltrun.report.page.write.time.sleep", pass_time)
    told = []
    for found in watch([outputs], file, Asked()):
        page = parts(file)["data"]
        told.append((len(found.records), page["counts"], page["reload"] is not None, len(page["tables"])))
    assert told == [
        (0, {}, True, 0),
        (0, {"unfinished": 1}, True, 0),
        (1, {"done": 1, "unfinished": 1}, True, 1),
        (1, {"done": 1, "failed": 1}, False, 1),
    ]
    assert "the loss is not finite" in parts(file)["data"]["begun"][0]["reason"]


def test_the_page_has_the_colours_of_the_figures(outputs: Path, tmp_path: Path) -> None:
    looks = pytest.importorskip("ltrun.report.figures.style", reason="needs matplotlib").LOOKS
    assert main([str(outputs), "--html", str(tmp_path / "page.html")]) == 0
    style = (tmp_path / "page.html").read_text()
    assert f"--a:{looks[0].colour.lower()};--b:{looks[1].colour.lower()}" in style


def test_a_row_has_the_word_that_compare_takes(tmp_path: Path, capsys: Capture) -> None:
    """Its label, in quotes for a shell; its fingerprint where two rows have the label; none for a row of several methods."""
    marks = []
    changes: list[dict[str, Any]] = [{}, {"optimizer.lr": 0.2}, {"optimizer.lr": 0.2, "network.weights": "a/b"}]
    for each in changes:
        marks.append(saved(tmp_path / "runs", "erm", 0, changes=each).fingerprint)
    saved(tmp_path / "runs", "ldam_drw", 0)
    page = tmp_path / "page.html"
    assert main([str(tmp_path / "runs"), "--html", str(page)]) == 0
    (table,) = parts(page)["data"]["tables"]
    words = [row["word"] for row in table["rows"]]
    assert len(set(words)) == 4 and marks[2] in words and all("/" not in word for word in words)
    for word in words[1:]:
        assert dispatch(["compare", *shlex.split(f"{words[0]} {word}"), "--in", str(tmp_path / "runs")]) == 0
    compared = {name for name, metric in table["metrics"].items() if metric["compared"]}
    assert compared == {"accuracy", "error", "macro"}
    assert main([str(tmp_path / "runs"), "--by", "dataset", "--html", str(page)]) == 0
    assert [row["word"] for table in parts(page)["data"]["tables"] for row in table["rows"]] == [None]
    capsys.readouterr()
