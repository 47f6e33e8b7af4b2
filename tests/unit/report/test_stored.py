"""Metrics that `ltrun report` computes from the predictions of runs: values, tables, captions, and runs that have none."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from ltrun.commands.report import main
from ltrun.evaluation.shifts import Shifts
from ltrun.evaluation.stored import MEASURED
from ltrun.metrics import SETS, SINGLE_LABEL, STORED
from tests.support.predicted import save_open, save_run, scores_of, several_labels

COUNTS = [500, 300, 120, 100, 60, 20, 19, 5]  # three many, three medium, two few
LABELS = np.repeat(np.arange(8), 25)
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    for method, lift in (("erm", 1.0), ("crt", 2.0)):
        for seed in (0, 1):
            scores = {"plain": scores_of(LABELS, 8, seed, lift)}
            save_open(save_run(tmp_path / "outputs", LABELS, scores, COUNTS, method=method, seed=seed), 30)
    return tmp_path / "outputs"


def table(outputs: Path, capsys: Capture, *words: str) -> dict[str, Any]:
    assert main([str(outputs), *words, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)["tables"]
    assert len(made) == 1
    return dict(made[0])


def values(made: dict[str, Any], row: int, head: str) -> list[float]:
    column = [column["head"] for column in made["columns"]].index(head)
    return list(made["rows"][row]["cells"][column]["values"])


def test_every_declared_metric_is_computed() -> None:
    assert set(MEASURED) == {*(metric.name for metric in STORED[SINGLE_LABEL]), *SETS} - {"relative"}


@pytest.mark.parametrize("metric", STORED[SINGLE_LABEL], ids=lambda metric: metric.name)
def test_every_metric_has_its_table(metric: Any, outputs: Path, capsys: Capture) -> None:
    made = table(outputs, capsys, "--metric", metric.name)
    assert [column["key"] for column in made["columns"]] == list(metric.columns)
    cells = [cell for row in made["rows"] for cell in row["cells"]]
    assert len(cells) == 2 * len(metric.columns) and all(cell["n"] == 2 and 0 <= cell["mean"] <= 100 for cell in cells)
    assert made["caption"].startswith(metric.title)


def test_values_of_a_run_and_of_its_groups(outputs: Path, capsys: Capture) -> None:
    scores = scores_of(LABELS, 8)
    f1 = f1_score(LABELS, scores.argmax(1), average=None)
    made = table(outputs, capsys, "--metric", "macro_f1")
    found = [values(made, 0, head)[0] for head in ("macro F1", "Many", "Medium", "Few")]
    assert found == pytest.approx([100 * part.mean() for part in (f1, f1[:3], f1[3:6], f1[6:])])
    powers = np.exp(scores.astype(np.float64))
    area = roc_auc_score(LABELS, powers / powers.sum(1, keepdims=True), multi_class="ovr")
    assert values(table(outputs, capsys, "--metric", "auroc"), 0, "AUROC")[0] == pytest.approx(100 * area)


def test_shifted_test_sets_have_columns_from_forward_to_backward(outputs: Path, capsys: Capture) -> None:
    made = table(outputs, capsys, "--shifts")
    heads = ["F-25", "F-10", "F-5", "F-2", "Uni", "B-2", "B-5", "B-10", "B-25"]  # 25 images a class allow no ratio of 50
    assert [column["head"] for column in made["columns"]] == heads
    right, sets = scores_of(LABELS, 8).argmax(1) == LABELS, Shifts(LABELS, np.array(COUNTS))
    expected = [right[sets.rows(25)].mean(), right.mean(), right[sets.rows(25, backward=True)].mean()]
    assert [values(made, 0, head)[0] for head in ("F-25", "Uni", "B-25")] == pytest.approx([100 * each for each in expected])
    assert "Uni: 25 images of each class, the whole test split." in made["caption"] and made["split"] == "test"


@pytest.mark.parametrize("form", ["markdown", "latex", "csv"])
def test_shifts_in_other_formats(form: str, outputs: Path, capsys: Capture) -> None:
    assert main([str(outputs), "--shifts", f"--{form}"]) == 0
    out = capsys.readouterr().out
    assert all(head in out for head in (("f-25", "uni", "b-25") if form == "csv" else ("F-25", "Uni", "B-25")))


def test_tables_of_two_data_sets_have_the_columns_of_their_own(outputs: Path, capsys: Capture) -> None:
    labels = np.repeat(np.arange(8), 3)
    save_run(outputs, labels, {"plain": scores_of(labels, 8)}, COUNTS, dataset="inat18")
    assert main([str(outputs), "--shifts", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)["tables"]
    assert {each["title"]: len(each["columns"]) for each in made} == {"cifar100_lt": 9, "inat18": 5}


def test_shares_of_predictions_and_of_test_images(outputs: Path, capsys: Capture) -> None:
    made = table(outputs, capsys, "--predicted")
    said = scores_of(LABELS, 8).argmax(1)
    expected = [(said < 3).mean(), ((said >= 3) & (said < 6)).mean(), (said >= 6).mean()]
    assert [values(made, 0, head)[0] for head in ("Many", "Medium", "Few")] == pytest.approx([100 * each for each in expected])
    assert "Of the test images (%): 37.5 many, 37.5 medium, 25.0 few." in made["caption"]
    assert "Many: more than 100 training images per class" in made["caption"]
    assert all(column["best"] is None for column in made["columns"])  # a share is not a merit


def test_the_caption_counts_open_images_and_says_where_runs_differ_in_them(outputs: Path, capsys: Capture) -> None:
    caption = "Open images, of classes without training images: "
    assert f"{caption}30. " in table(outputs, capsys, "--metric", "open_auroc")["caption"]
    save_open(next(outputs.glob("*/crt/*/seed0")), 1200, "other")
    said = table(outputs, capsys, "--metric", "open_f")["caption"]
    assert f"{caption}1,200 or 30, which differ between runs, so that rows cannot be compared. " in said
    assert "Open images" not in table(outputs, capsys, "--metric", "macro_f1")["caption"]


def test_a_run_without_open_images_has_a_dash_and_the_command_that_stores_them(outputs: Path, capsys: Capture) -> None:
    lost = next(outputs.glob("*/erm/*/seed0/open.npz"))
    lost.unlink()
    assert main([str(outputs), "--metric", "open_f", "--json"]) == 0
    out, err = capsys.readouterr()
    assert [row["cells"][0]["n"] for row in json.loads(out)["tables"][0]["rows"]] == [1, 2]
    assert f"'ltrun evaluate {lost.parent} --open IMAGES'. The run has no open_f" in err
    for file in outputs.rglob("open.npz"):
        file.unlink()
    assert main([str(outputs), "--metric", "open_f"]) == 1
    assert "no run has a value of open_f" in capsys.readouterr().err


def test_a_run_without_predictions_has_a_dash(outputs: Path, capsys: Capture) -> None:
    lost = next((outputs / "cifar100_lt" / "erm").rglob("predictions.npz"))
    lost.unlink()
    assert main([str(outputs), "--metric", "g_mean", "--csv"]) == 0
    out, err = capsys.readouterr()
    counts = {(line["name"], line["n"]) for line in csv.DictReader(io.StringIO(out))}
    assert counts == {("ERM", "1"), ("cRT", "2")}
    assert err.count("\n") == 1 and f"{lost} is missing" in err and "The run has no g_mean" in err


def test_what_cannot_be_computed_is_refused_in_one_sentence(outputs: Path, tmp_path: Path, capsys: Capture) -> None:
    labels, scores = several_labels(40, 8)
    save_run(tmp_path / "several", labels, {"plain": scores}, COUNTS, dataset="voc_lt")
    for file in outputs.rglob("predictions.npz"):
        (tmp_path / "bare" / file.parent.name / file.parent.parent.name).mkdir(parents=True)
        result = (file.parent / "result.json").read_bytes()
        (tmp_path / "bare" / file.parent.name / file.parent.parent.name / "result.json").write_bytes(result)
    refused = {
        ("several", "--shifts"): "shifts is for one label per image",
        ("several", "--metric", "auroc"): "auroc is for one label per image",
        ("bare", "--shifts"): "no run has a value of shifts. ",
        ("outputs", "--shifts", "--predicted"): "--shifts and --predicted each ask for a table of their own",
        ("outputs", "--predicted", "--metric", "ece"): "--predicted and --metric ece each ask",
        ("outputs", "--shifts", "--split", "val"): "shifts needs predictions",
        ("outputs", "--metric", "g_means"): "did you mean 'g_mean'?",
    }
    for (folder, *words), said in refused.items():
        assert main([str(tmp_path / folder), *words]) == 1
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1 and said in err, words
    assert main([str(tmp_path / "several"), "--metric", "macro_f1", "--csv"]) == 0  # recorded, of several labels
    capsys.readouterr()
    assert main([str(outputs), str(tmp_path / "several"), "--metric", "g_mean", "--csv"]) == 0
    out, err = capsys.readouterr()
    assert "voc_lt" not in out and "ERM" in out and err == ""


def test_a_test_split_without_such_sets_is_named(tmp_path: Path, capsys: Capture) -> None:
    labels = np.array([0, 0, 0, 1])
    save_run(tmp_path, labels, {"plain": scores_of(labels, 8)}, COUNTS, dataset="photos")
    assert main([str(tmp_path), "--shifts"]) == 1
    assert "photos: 6 of 8 classes have no test image" in capsys.readouterr().err
