"""Rows of sweeps: each names its value, defaults included; values with one address are one value."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from ltrun.report import Table, facts, tables
from ltrun.report.render import FORMATS
from ltrun.report.table import DASH
from tests.support.recorded import record


def only(found: list[Table]) -> Table:
    (table,) = found
    return table


def names(table: Table) -> list[tuple[str, ...]]:
    return [row.names for row in table.rows]


def tuned(tau: float, seed: int = 0, default: float = 1, **more: Any) -> Any:
    """Returns a run whose record names tau as a change only if it is not the default."""
    changes = {} if tau == default else {"logit_adjustment.adjust.tau": tau}
    config = {"logit_adjustment": {"adjust": {"tau": tau}}, "slots": []}
    return record(
        "logit_adjustment", seed, changes=changes | more.pop("changes", {}), config=config | more.pop("config", {}), **more
    )


def test_the_default_among_swept_values_is_named() -> None:
    table = only(tables([tuned(tau, seed) for tau in (2, 10, 0.5, 1.0) for seed in (0, 1)]))
    assert table.heads == ("Method", "tau")
    assert names(table) == [("Logit Adjustment", tau) for tau in ("0.5", "1", "2", "10")], "by size, and none is left out"
    assert [row.n for row in table.rows] == [2] * 4
    assert "tau: logit_adjustment.adjust.tau" in table.notes
    lines = list(csv.DictReader(io.StringIO(FORMATS["csv"]([table]))))
    assert [line["logit_adjustment.adjust.tau"] for line in lines if line["group"] == "all"] == ["0.5", "1", "2", "10"]
    assert {line["method"] for line in lines} >= {"logit_adjustment [logit_adjustment.adjust.tau=1]"}


def test_a_sweep_over_methods_and_a_key() -> None:
    runs = [
        record(method, changes=changes, config={"epochs": epochs, "slots": []})
        for method in ("erm", "ldam")
        for epochs, changes in ((200, {}), (90, {"epochs": 90}))
    ]
    table = only(tables([*runs, record("crt", config={"epochs": 200, "slots": []})]))
    assert names(table) == [("ERM", "90"), ("ERM", "200"), ("cRT", "200"), ("LDAM", "90"), ("LDAM", "200")]


def test_a_change_that_every_run_shares_is_named_once() -> None:
    table = only(tables([tuned(tau, changes={"epochs": 3, "force": True}) for tau in (1, 2)]))
    assert names(table) == [("Logit Adjustment", "1"), ("Logit Adjustment", "2")]
    assert "every run: epochs=3" in table.notes
    assert [row.keys["method"].count("epochs=3") for row in table.rows] == [1, 1], "as typed, for programs"


def test_a_change_of_some_methods_stays_in_their_labels() -> None:
    table = only(tables([record("erm", changes={"epochs": 3}), record("ldam"), record("crt", changes={"epochs": 4})]))
    assert names(table) == [("erm [epochs=3]",), ("crt [epochs=4]",), ("LDAM",)]
    assert not any(note.startswith("every run") for note in table.notes)
    assert names(only(tables([record("erm", changes={"epochs": 3})]))) == [("erm [epochs=3]",)], "one row"


def test_two_methods_with_one_name_in_papers_keep_their_own_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "method").mkdir()
    (tmp_path / "method" / "my_ldam.yaml").write_text("# name: LDAM\n# Mine.\n")
    monkeypatch.setenv("LTRUN_SEARCHPATH", str(tmp_path))
    runs = [record("my_ldam"), record("ldam"), record("erm")]
    assert names(only(tables(runs))) == [("ERM",), ("ldam",), ("my_ldam",)]
    assert names(only(tables(runs[:1]))) == [("LDAM",)]
    assert [row.keys["method"] for row in only(tables(runs, by=["method"])).rows] == ["erm", "ldam", "my_ldam"]


def test_a_swept_slot_is_a_column() -> None:
    runs = [record("ldam", margin="ldam"), record("ldam", margin="none", changes={"margin": "none"})]
    table = only(tables(runs))
    assert table.heads == ("Method", "margin") and names(table) == [("LDAM", "ldam"), ("LDAM", "none")]


def test_swept_lists_and_nested_mappings_are_columns() -> None:
    runs = []
    for milestones, inner in (([0.8, 0.9], {"a": 1}), ([0.5], {"a": 2, "b": None})):
        changes = {"schedule.milestones": milestones, "stages.train.loss.a": inner["a"]} if inner["a"] == 2 else {}
        config = {"schedule": {"milestones": milestones}, "stages": {"train": {"loss": inner}}, "slots": []}
        runs.append(record("erm", changes=changes, config=config))
    table = only(tables(runs))
    assert table.heads == ("Method", "milestones", "a")
    assert names(table) == [("ERM", "[0.5]", "2"), ("ERM", "[0.8,0.9]", "1")]


def test_a_key_of_a_stage_is_a_column() -> None:
    runs = [
        record("erm", changes=changes, config={"stages": {"train": {"loss": {"gamma": gamma}}}, "slots": []})
        for gamma, changes in ((1, {}), (2, {"loss.gamma": 2}))
    ]
    assert names(only(tables(runs))) == [("ERM", "1"), ("ERM", "2")]


def test_keys_with_the_same_last_step_are_told_apart() -> None:
    runs = [
        record("erm", changes=changes, config={"optimizer": {"lr": a}, "margin": {"lr": b}, "slots": []})
        for a, b, changes in ((1, 1, {}), (2, 1, {"optimizer.lr": 2}), (2, 3, {"optimizer.lr": 2, "margin.lr": 3}))
    ]
    table = only(tables(runs))
    assert table.heads == ("Method", "margin.lr", "optimizer.lr")
    assert set(names(table)) == {("ERM", "1", "1"), ("ERM", "1", "2"), ("ERM", "3", "2")}


def test_with_many_swept_keys_each_label_gives_the_values() -> None:
    keys = [f"optimizer.k{i}" for i in range(4)]
    runs = [record("erm", config={"optimizer": {f"k{i}": 0 for i in range(4)}, "slots": []}), record("ldam")]
    for i, key in enumerate(keys):
        config = {"optimizer": {f"k{j}": int(i == j) for j in range(4)}, "slots": []}
        runs.append(record("erm", changes={key: 1}, config=config))
    table = only(tables(runs))
    assert table.heads == ("Method",)
    assert names(table)[0] == ("erm [optimizer.k0=0, optimizer.k1=0, optimizer.k2=0, optimizer.k3=0]",)
    assert all(row.names[0].count("=") == 4 for row in table.rows[:5]) and names(table)[5] == ("LDAM",)


def test_the_default_of_a_swept_data_set_is_in_its_title() -> None:
    runs = [
        record("erm", changes=changes, config={"dataset": {"imbalance": value}, "slots": []})
        for value, changes in ((100, {}), (10, {"dataset.imbalance": 10}), (50, {"dataset.imbalance": 50}))
    ]
    found = tables([*runs, record(dataset="digits_lt")])
    assert [table.heading for table in found][2:] == ["CIFAR-100-LT [imbalance=100]", "Digits-LT"]
    assert [table.title for table in found] == [*(f"cifar100_lt [imbalance={value}]" for value in (10, 50, 100)), "digits_lt"]


def test_a_dagger_stands_with_the_method() -> None:
    runs = [tuned(tau, predictors={"plain": [], "em": ["test_inputs"]}) for tau in (1, 2)]
    assert names(only(tables(runs)))[1] == ("Logit Adjustment · em †", "1")


@pytest.mark.parametrize(
    "configs",
    [
        [{"a": {"b": 1}}, {"a": {"b": 1.0}}, {"a": {"b": 1e0}}],
        [{"a": {"b": None}}, {"a": {}}, {"a": {"b": {}}}, {}],
        [{"a": {"b": [1, 2.0]}}, {"a": {"b": [1.0, 2]}}],
        [{"a": {"b": {"x": 1, "y": None}}}, {"a": {"b": {"x": 1.0}}}],
        [{"a": {"b": True}}, {"a": {"b": True}}],
    ],
)
def test_values_with_one_address_are_one_row_under_by(configs: list[dict[str, Any]]) -> None:
    runs = [record("erm", seed, config={"slots": [], **config}) for seed, config in enumerate(configs)]
    runs.append(record("erm", 9, config={"slots": [], "a": {"b": "other"}}))
    assert len({run.fingerprint for run in runs}) == 2
    assert sorted(row.n for row in only(tables(runs, by=["a.b"])).rows) == [1, len(configs)]


def test_moved_classes_and_slots_younger_than_the_record_are_one_value() -> None:
    paths = ("ltrun.margin.ldam.LDAM", "ltrun.margin.LDAM")
    runs = [
        record("erm", seed, config={"margin": {"adjust": {"_target_": path}}, "slots": []}) for seed, path in enumerate(paths)
    ]
    runs[1] = record("erm", 1, config={**runs[1].config})
    assert len({run.fingerprint for run in runs}) == 1
    assert [row.names for row in only(tables(runs, by=["margin.adjust._target_"])).rows] == [("ltrun.margin.LDAM",)]
    assert "posthoc" not in runs[0].choices
    assert [row.names for row in only(tables(runs, by=["posthoc"])).rows] == [("none",)]


def test_true_is_not_1_and_a_number_is_not_its_text() -> None:
    runs = [record("erm", seed, config={"slots": [], "a": value}) for seed, value in enumerate((True, 1))]
    assert [row.names for row in only(tables(runs, by=["a"])).rows] == [("1",), ("true",)]
    runs = [record("erm", seed, config={"slots": [], "a": value}) for seed, value in enumerate((1, "1", "x"))]
    assert [row.names for row in only(tables(runs, by=["a"])).rows] == [("1",), ('"1"',), ("x",)]


def test_a_neutral_value_is_as_good_as_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "NEUTRAL", {"evaluation.crops": 1, "ltrun.margin.LDAM.shift": 0})
    part = {"_target_": "ltrun.margin.ldam.LDAM"}
    configs: list[dict[str, Any]] = [
        {"evaluation": {}, "margin": {"adjust": part}},
        {"evaluation": {"crops": 1.0}, "margin": {"adjust": part | {"shift": 0.0}}},
    ]
    runs = [record("erm", seed, config={"slots": [], **config}) for seed, config in enumerate(configs)]
    for key, value in (("evaluation.crops", "1"), ("margin.adjust.shift", "0")):
        assert [(row.names, row.n) for row in only(tables(runs, by=[key])).rows] == [((value,), 2)]


def test_a_key_that_some_runs_lack_has_a_dash() -> None:
    runs = [record("erm", changes={"epochs": 3}, config={"epochs": 3, "slots": []}), record("erm", config={"slots": []})]
    assert names(only(tables(runs))) == [("ERM", DASH), ("ERM", "3")]


def test_a_part_can_be_grouped_by() -> None:
    runs = [record("erm", seed, config={"optimizer": {"lr": lr}}) for seed, lr in enumerate((0.1, 0.2, 0.1))]
    assert [(row.names, row.n) for row in only(tables(runs, by=["optimizer"])).rows] == [
        (("{lr: 0.1}",), 2),
        (("{lr: 0.2}",), 1),
    ]
