"""Reports of runs with several labels per image: tables by metric, captions, choice, values of classes, confusion, pages."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from ltrun.commands.report import main
from ltrun.errors import ConfigError
from ltrun.metrics import MULTI_LABEL, TASKS
from ltrun.report.choice import choice, with_costs
from ltrun.report.collect import collect
from ltrun.report.confusion import Confusion, confusions
from ltrun.report.group import tables
from ltrun.report.per_class import per_class
from ltrun.report.render import FORMATS
from ltrun.report.run_page import run_page
from ltrun.results.record import RunRecord
from tests.support.predicted import save_run, several_labels
from tests.support.recorded import record

COUNTS = [30, 500, 60, 300, 19, 101, 20, 7]
LABELS, _ = several_labels(60, 8)
LABELS[:, 6] = False  # no test image
TRAINING = {"images": 700, **dict.fromkeys(("labels", "files", "sizes", "pixels"), "0" * 16)}
DATA = {"digest": "0" * 16, "classes": "0" * 16, "splits": {"train": TRAINING}}
LIMITS = {"evaluation": {"many": 99, "few": 20}}
Capture = pytest.CaptureFixture[str]


def scores(seed: int) -> np.ndarray:
    """Returns scores that never predict class 2."""
    found = several_labels(60, 8, seed + 10)[1] + np.where(LABELS, 1, -1).astype(np.float32)
    found[:, 2] = -9
    return found


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("outputs")
    for seed in (0, 1, 2):
        for method, lift in (("erm", 0), ("focal", 1)):
            found = {"plain": scores(seed) + lift}
            save_run(folder, LABELS, found, COUNTS, method=method, seed=seed, dataset="voc_lt", data=DATA, config=LIMITS)
    return folder


def read(outputs: Path) -> list[RunRecord]:
    return collect([outputs])[0]


def confused(outputs: Path) -> Confusion:
    (first, _), notes = confusions(tables(read(outputs)))
    assert notes == []
    return first


@pytest.mark.parametrize("name", [metric.name for metric in TASKS[MULTI_LABEL]])
def test_every_metric_has_a_table_in_every_format(outputs: Path, name: str) -> None:
    (metric,) = (metric for metric in TASKS[MULTI_LABEL] if metric.name == name)
    (table,) = tables(read(outputs), name)
    assert list(table.columns) == list(metric.columns.values())
    kept = [run.predictors["plain"]["splits"]["test"] for run in read(outputs) if run.method == "erm"]
    for column, cell in zip(table.measure.columns, table.rows[0].cells, strict=True):
        values = [100 * found[column.key] for found in kept if found[column.key] is not None]
        assert cell.mean == pytest.approx(np.mean(values)) if values else cell.mean is None
    assert table.caption.startswith(f"{metric.title} (%) on the test split: mean ± standard deviation")
    for write in FORMATS.values():
        assert write([table])


def test_the_caption_names_groups_left_out_classes_and_training_images(outputs: Path) -> None:
    (table,) = tables(read(outputs))
    assert table.columns == ("mAP", "Many", "Medium", "Few")
    limits = "Many (head): more than 99 training images per class; medium: 20 to 99; few (tail): fewer than 20."
    absent = "Classes without an image in the test split: 1 of 8, left out."
    assert f" {limits} {absent} Model: last epoch. 8 classes, 700 training images." in table.caption
    assert "the test split: 1 of 8, counted as 0." in tables(read(outputs), "map_videolt")[0].caption
    assert "without an image" not in tables(read(outputs), "micro_f1")[0].caption
    unknown = [replace(run, data={}) for run in read(outputs)]
    assert tables(unknown)[0].caption.endswith("Model: last epoch. 8 classes.")


def test_both_tasks_in_one_report_have_tables_of_their_own(outputs: Path) -> None:
    records = [*read(outputs), record("erm"), record("ldam")]
    assert [(table.title, table.measure.name) for table in tables(records)] == [("cifar100_lt", "accuracy"), ("voc_lt", "map")]
    assert [table.title for table in tables(records, "map")] == ["voc_lt"]
    assert [table.title for table in tables(records, "ece")] == ["cifar100_lt"]
    assert {table.measure.name for table in tables(records, by=["dataset"])} == {"accuracy", "map"}
    assert len(tables([*read(outputs), replace(record("erm"), provenance={"seconds": 3.0})], "cost")) == 2
    with pytest.raises(ConfigError, match="no run has a metric 'micro_f2'; the runs have map, map_videolt"):
        tables(records, "micro_f2")
    with pytest.raises(ConfigError, match=r"no run has a metric 'classes'"):
        tables(records, "classes")


def test_json_and_csv_name_the_groups_by_their_keys(outputs: Path) -> None:
    (table,) = tables(read(outputs), "map_videolt")
    (shown,) = json.loads(FORMATS["json"]([table]))["tables"]
    assert shown["task"] == "multi_label"
    assert [column["key"] for column in shown["columns"]] == ["map_videolt", "videolt_many", "videolt_medium", "videolt_few"]
    rows = list(csv.DictReader(io.StringIO(FORMATS["csv"]([table]))))
    assert [row["group"] for row in rows[:4]] == ["map (videolt)", "many", "medium", "few"]


def test_average_precision_chooses_the_method() -> None:
    def runs(method: str, values: Sequence[float], few: float) -> list[RunRecord]:
        found = []
        for seed, value in enumerate(values):
            metrics = {"map": value, "many": 0.8, "medium": 0.7, "few": few, "per_class": [value] * 8, "images": 60}
            plain: Any = {"sees": [], "splits": {"val": metrics, "test": metrics}}
            run = replace(record(method, seed), task=MULTI_LABEL, predictors={"plain": plain})
            found.append(replace(run, provenance={"seconds": 9.0}))
        return found

    records = [*runs("erm", [0.5, 0.51, 0.52], 0.1), *runs("focal", [0.57, 0.59, 0.61], 0.3)]
    (table,) = with_costs(records)
    assert table.columns == ("mAP", "Many", "Medium", "Few", "s")
    said = choice(table)
    assert said.startswith("Take Focal loss (method=focal): 59.0% on the validation split as mean average precision (59.0% on")
    assert "its lead over ERM, the second, is 8.0 points" in said and "the tail (few-shot classes) gains 20.0 points" in said
    mixed = with_costs([*records, *(record("erm", seed, splits=("val", "test")) for seed in range(2))])
    assert [table.measure.name for table in mixed] == ["macro", "map"]


def test_values_of_classes_are_scikit_learns_with_the_average_precision_of_the_record(outputs: Path) -> None:
    made, _ = confusions(tables(read(outputs)))
    table = per_class(made)[0]
    assert table.columns == ("AP", "Precision", "Recall", "F1") and "where its probability is above one half" in table.caption
    kept = [run.predictors["plain"]["splits"]["test"]["per_class"] for run in read(outputs) if run.method == "erm"]
    rows = {row.names[0]: row for row in table.rows}
    assert list(rows) == [f"class {c}" for c in np.argsort(-np.array(COUNTS), kind="stable")]
    each = [precision_recall_fscore_support(LABELS, scores(seed) > 0, zero_division=np.nan) for seed in (0, 1, 2)]
    for c in range(8):
        row = rows[f"class {c}"]
        assert row.names[1:] == (str(COUNTS[c]), str(LABELS[:, c].sum()))
        if c not in (2, 6):
            expected = [np.mean([run[c] for run in kept]), *(np.mean([run[value][c] for run in each]) for value in range(3))]
            assert [cell.mean for cell in row.cells] == pytest.approx([100 * value for value in expected])
    assert rows["class 2"].cells[1].mean is None and rows["class 2"].cells[3].mean == 0
    assert rows["class 6"].cells[0].mean is None and rows["class 6"].cells[2].mean is None


def test_the_matrix_has_recalls_and_the_shares_of_false_labels(outputs: Path) -> None:
    confusion = confused(outputs)
    expected = np.zeros((8, 8))
    for seed in (0, 1, 2):
        predicted = scores(seed) > 0
        for i in range(8):
            for j in range(8):
                hits = [p[j] and (i == j or not y[j]) for y, p in zip(LABELS, predicted, strict=True) if y[i]]
                expected[i, j] += np.mean(hits) / 3 if hits else np.nan
    order = confusion.order
    assert np.allclose(confusion.shares, expected[np.ix_(order, order)], equal_nan=True)
    assert np.isnan(expected[6]).all() and np.isfinite(np.delete(expected, 6, 0)).all()


def test_by_group_a_share_has_at_least_one_false_label_of_it(outputs: Path) -> None:
    confusion = confused(outputs)
    groups = [0 if n > 99 else 2 if n < 20 else 1 for n in COUNTS]
    assert confusion.groups.tolist() == groups
    expected = np.zeros((3, 4))
    for seed in (0, 1, 2):
        predicted = scores(seed) > 0
        for group in range(3):
            classes = [c for c in range(8) if groups[c] == group and LABELS[:, c].any()]
            for c in classes:
                mine = LABELS[:, c]
                false = [(predicted & ~LABELS)[mine][:, np.array(groups) == other].any(1).mean() for other in range(3)]
                expected[group] += np.array([predicted[mine, c].mean(), *false]) / len(classes) / 3
    assert np.allclose(confusion.grouped(), expected)


def test_the_command_prints_classes_and_writes_maps_and_figures(outputs: Path, tmp_path: Path, capsys: Capture) -> None:
    figures = ["--confusion", str(tmp_path / "maps"), "--plots", str(tmp_path / "plots")]
    assert main([str(outputs), "--per-class", "--csv", *figures]) == 0
    out, err = capsys.readouterr()
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["group"] for row in rows[:4]] == ["ap", "precision", "recall", "f1"]
    assert err.count("written") == 6 and len(list(tmp_path.rglob("*.png"))) == 4


def test_the_page_of_a_run_has_a_table_for_each_kind_of_groups(outputs: Path) -> None:
    (folder,) = (file.parent for file in outputs.rglob("erm/*/seed0/result.json"))
    lines = list(run_page(folder))
    heads = [line.split() for line in lines if "mAP" in line]
    assert heads[0] == ["mAP", "Many", "Medium", "Few"] and heads[1][:2] == ["mAP", "(VideoLT)"] and heads[1][-1] == "Acc@5"
    assert "data: 8 classes, 700 training images, 500 to 7 a class" in lines
