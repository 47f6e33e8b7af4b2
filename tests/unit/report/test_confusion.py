"""Confusion, precision, recall and F1 against scikit-learn; means over runs; shot groups; runs that are left out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from ltrun.errors import ConfigError
from ltrun.metrics import GROUPS, Shots
from ltrun.report.collect import collect
from ltrun.report.confusion import Confusion, confusions
from ltrun.report.group import tables
from ltrun.report.per_class import per_class
from ltrun.report.render import FORMATS
from tests.support.predicted import save_run, scores_of

COUNTS = [5, 500, 60, 300, 19, 60, 101]  # two few-, two medium- and three many-shot classes, not in label order
LABELS = np.repeat(np.arange(7), [6, 5, 9, 4, 8, 0, 7])  # class 5 has no test image
SEEDS = (0, 1, 2)


def scores(seed: int) -> np.ndarray:
    """Returns random scores that never predict class 2, and do predict class 5, which has no test images."""
    found = scores_of(LABELS, 7, seed)
    found[:, 2] = -9
    return found


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    for seed in SEEDS:
        save_run(tmp_path / "outputs", LABELS, {"plain": scores(seed)}, COUNTS, seed=seed)
    return tmp_path / "outputs"


def read(outputs: Path) -> tuple[list[Confusion], list[str]]:
    records, _ = collect([outputs])
    return confusions(tables(records))


def test_the_matrix_equals_scikit_learns_averaged_and_by_class_size(outputs: Path) -> None:
    (confusion,), notes = read(outputs)
    assert notes == [] and len(confusion.runs) == 3
    order = confusion.order
    assert [COUNTS[c] for c in order] == sorted(COUNTS, reverse=True) and list(order[3:5]) == [2, 5]
    each = [confusion_matrix(LABELS, scores(seed).argmax(1), labels=order) for seed in SEEDS]
    with np.errstate(invalid="ignore"):
        shares = [matrix / matrix.sum(1, keepdims=True) for matrix in each]
    for run, share in zip(confusion.runs, shares, strict=True):
        assert np.allclose(replace(confusion, runs=(run,)).shares, share, equal_nan=True)
    expected = np.mean(shares, axis=0)
    assert np.allclose(confusion.shares, expected, equal_nan=True)
    assert np.isnan(confusion.shares[4]).all() and np.isfinite(np.delete(confusion.shares, 4, 0)).all()


def test_precision_recall_and_f1_equal_scikit_learns(outputs: Path) -> None:
    (confusion,), _ = read(outputs)
    found = {c: (support, each) for c, support, each in confusion.by_class()}
    assert list(found) == confusion.order.tolist()
    for run, seed in enumerate(SEEDS):
        predicted = scores(seed).argmax(1)
        expected = precision_recall_fscore_support(LABELS, predicted, labels=np.arange(7), zero_division=np.nan)
        for c in range(7):
            support, each = found[c]
            assert support == expected[3][c]
            assert np.allclose(each[run, :2], [expected[0][c], expected[1][c]], equal_nan=True)
            if c != 5:
                assert np.isclose(each[run, 2], expected[2][c])
    assert np.isnan(found[2][1][:, 0]).all(), "no precision without a prediction"
    assert (found[2][1][:, 2] == 0).all(), "but an F1 of 0"
    assert np.isnan(found[5][1][:, 1]).all(), "no recall without a test image"


def test_shot_groups_are_means_over_their_classes(outputs: Path) -> None:
    (confusion,), _ = read(outputs)
    expected = np.zeros((3, 4))
    groups = [list(GROUPS).index(Shots().group(n)) for n in COUNTS]
    for seed in SEEDS:
        predicted = scores(seed).argmax(1)
        for group in range(3):
            classes = [c for c in range(7) if groups[c] == group and c in LABELS]
            for c in classes:
                there = predicted[c == LABELS]
                right = (there == c).mean()
                others = [np.mean([p != c and groups[p] == g for p in there]) for g in range(3)]
                expected[group] += np.array([right, *others]) / len(classes) / len(SEEDS)
    assert np.allclose(confusion.grouped(), expected)
    assert np.allclose(confusion.grouped().sum(1), 1)


def test_a_group_without_test_images_has_no_number(tmp_path: Path) -> None:
    labels = np.array([0, 0, 1])
    save_run(tmp_path, labels, {"plain": scores_of(labels, 3)}, [500, 300, 5])
    (confusion,), _ = read(tmp_path)
    assert np.isnan(confusion.grouped()[1:]).all() and np.isfinite(confusion.grouped()[0]).all()


def test_a_run_without_its_predictions_is_left_out_with_a_sentence(outputs: Path) -> None:
    gone = next(outputs.rglob("seed1/predictions.npz"))
    gone.unlink()
    (confusion,), notes = read(outputs)
    assert len(confusion.runs) == 2
    assert len(notes) == 1 and str(gone) in notes[0] and notes[0].endswith("The run is left out")
    for file in outputs.rglob("predictions.npz"):
        file.unlink()
    assert read(outputs)[0] == []


def test_runs_of_other_classes_share_no_matrix(tmp_path: Path) -> None:
    save_run(tmp_path, LABELS, {"plain": scores(0)}, COUNTS)
    save_run(tmp_path, LABELS, {"plain": scores(0)}, [n + 1 for n in COUNTS], seed=1)
    records, _ = collect([tmp_path])
    confusion, notes = confusions(tables(records, by=["dataset"]))
    assert confusion == [] and "its runs differ in classes" in notes[0]


def test_only_the_test_split_has_predictions(outputs: Path) -> None:
    records, _ = collect([outputs])
    made = tables(records)
    with pytest.raises(ConfigError, match="--split val: runs keep their predictions of the test split only"):
        confusions([replace(made[0], split="val")])


def test_every_predictor_has_a_table_with_a_row_for_each_class(tmp_path: Path) -> None:
    for seed in SEEDS:
        save_run(tmp_path, LABELS, {"plain": scores(seed), "ncm": scores(seed + 9)}, COUNTS, seed=seed)
    confused, _ = read(tmp_path)
    made = per_class(confused)
    assert [table.title for table in made] == ["cifar100_lt: ERM", "cifar100_lt: ERM · ncm"]
    assert [table.heading for table in made] == ["CIFAR-100-LT: ERM", "CIFAR-100-LT: ERM · ncm"]
    assert "### CIFAR-100-LT: ERM\n" in FORMATS["markdown"](made) and "\\caption{CIFAR-100-LT: ERM. P" in FORMATS["latex"](made)
    head = made[0].rows[0]
    assert head.names == ("class 1", "500", "5")
    assert head.keys == {**confused[0].row.keys, "class": "class 1", "training_images": "500", "test_images": "5"}
    recall = [100 * np.mean(scores(seed).argmax(1)[LABELS == 1] == 1) for seed in SEEDS]
    assert head.cells[1].mean == pytest.approx(np.mean(recall)) and head.cells[1].std == pytest.approx(np.std(recall, ddof=1))
    never = next(row for row in made[0].rows if row.names[0] == "class 2")
    assert never.cells[0].mean is None and never.cells[2].mean == 0
