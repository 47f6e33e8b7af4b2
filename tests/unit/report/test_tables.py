"""Tables: their arithmetic, the runs that share a row, and their captions."""

from dataclasses import replace

import numpy as np
import pytest

from ltrun.errors import ConfigError
from ltrun.report import Cell, Table, tables
from ltrun.report.render import FORMATS
from ltrun.report.table import DASH
from ltrun.results.record import RunRecord
from tests.support.recorded import COUNTS, record


def only(found: list[Table]) -> Table:
    (table,) = found
    return table


def names(table: Table) -> list[str]:
    return [row.names[0] for row in table.rows]


def values(runs: list[RunRecord], key: str, predictor: str = "plain") -> np.ndarray:
    return 100 * np.array([run.predictors[predictor]["splits"]["test"][key] for run in runs])


@pytest.mark.parametrize("n", [1, 2, 3, 10])
def test_mean_and_deviation_equal_numpys(n: int) -> None:
    runs = [record(seed=seed) for seed in range(n)]
    row = only(tables(runs)).rows[0]
    assert row.n == n
    for cell, key in zip(row.cells, ("accuracy", "many", "medium", "few"), strict=True):
        assert cell.n == n
        assert cell.mean == pytest.approx(values(runs, key).mean(), rel=1e-12)
        if n == 1:
            assert cell.std is None
        else:
            assert cell.std == pytest.approx(values(runs, key).std(ddof=1), rel=1e-12)


def test_equal_runs_have_no_deviation_and_large_numbers_keep_theirs() -> None:
    assert Cell((38.3, 38.3, 38.3)).std == pytest.approx(0, abs=1e-13)
    shifted = (1e9 + 1, 1e9 + 2, 1e9 + 3)
    assert Cell(shifted).std == pytest.approx(1)
    assert (Cell(()).mean, Cell(()).std, Cell(()).n) == (None, None, 0)


def test_an_empty_group_has_no_number() -> None:
    table = only(tables([record(counts=[500, 400, 300], seed=seed) for seed in (0, 1)]))
    assert [cell.mean is None for cell in table.rows[0].cells] == [False, False, True, True]


def test_a_group_that_some_runs_lack_averages_the_others() -> None:
    runs = [record(seed=0), record(seed=1)]
    runs[1].predictors["plain"]["splits"]["test"]["few"] = None
    few = only(tables(runs)).rows[0].cells[3]
    assert (few.n, few.std) == (1, None)
    assert few.mean == pytest.approx(values(runs[:1], "few")[0])


@pytest.mark.parametrize("metric", ["accuracy", "error", "macro", "ece"])
def test_a_table_shows_each_metric_with_its_groups(metric: str) -> None:
    runs = [record(seed=seed) for seed in range(3)]
    table = only(tables(runs, metric))
    cells = table.rows[0].cells
    assert cells[0].mean == pytest.approx(values(runs, metric).mean())
    if metric == "ece":
        assert table.columns == ("ECE",)
        return
    few = values(runs, "few")
    few = 100 - few if metric == "error" else few
    assert (cells[3].mean, cells[3].std) == (pytest.approx(few.mean()), pytest.approx(few.std(ddof=1)))


def test_a_row_that_saw_test_inputs_is_marked_and_never_the_best() -> None:
    runs = [record("erm"), record("sade", predictors={"plain": [], "aggregated": ["test_inputs"]})]
    runs[1].predictors["aggregated"]["splits"]["test"]["accuracy"] = 1.0
    table = only(tables(runs))
    assert names(table) == ["ERM", "SADE", "SADE · aggregated †"]
    assert [row.saw_test for row in table.rows] == [False, False, True]
    assert "† saw test inputs" in table.notes
    assert table.best(0) <= {0, 1}
    assert "† saw test inputs" not in only(tables(runs[:1])).notes


def test_the_headline_bears_the_name_of_the_method() -> None:
    table = only(tables([record("tau", predictors={"plain": [], "tau_norm": [], "ncm": ["train"]}, headline="tau_norm")]))
    assert names(table) == ["tau", "tau · plain", "tau · ncm"]


def test_erm_comes_first_and_then_the_alphabet() -> None:
    runs = [record(method) for method in ("ldam", "crt", "erm", "bbn")] + [record("erm", changes={"epochs": 3})]
    assert names(only(tables(runs))) == ["ERM", "ERM", "BBN", "cRT", "LDAM"]
    assert [row.keys["method"] for row in only(tables(runs)).rows] == ["erm", "erm [epochs=3]", "bbn", "crt", "ldam"]


def test_configurations_under_one_label_are_never_averaged() -> None:
    runs = [record(seed=seed, config={"optimizer": {"lr": lr}}) for lr in (0.1, 0.2) for seed in (0, 1)]
    table = only(tables(runs))
    marks = sorted({run.fingerprint for run in runs})
    assert names(table) == [f"ERM ({mark})" for mark in marks]
    assert [row.n for row in table.rows] == [2, 2]
    by_mark = {mark: [run for run in runs if run.fingerprint == mark] for mark in marks}
    for row, mark in zip(table.rows, marks, strict=True):
        assert row.cells[0].mean == pytest.approx(values(by_mark[mark], "accuracy").mean())
    note = table.notes[0]
    assert "optimizer.lr" in note
    assert all(mark in note for mark in marks)
    assert "seed" not in note


def test_a_data_set_and_its_overrides_have_their_own_table() -> None:
    runs = [
        record("erm"),
        record("erm", changes={"dataset.imbalance": 50}),
        record("erm", changes={"dataset.imbalance": 50, "epochs": 3}),
        record("erm", dataset="digits_lt"),
    ]
    found = tables(runs)
    assert [table.title for table in found] == ["cifar100_lt", "cifar100_lt [imbalance=50]", "digits_lt"]
    assert [row.names for row in found[1].rows] == [("ERM", DASH), ("ERM", "3")]


def test_two_data_sets_of_one_name_are_not_mixed() -> None:
    runs = [record(dataset="my_photos", counts=[50, 10]), record(dataset="my_photos", counts=[50, 10, 4], method="ldam")]
    assert [names(table) for table in tables(runs)] == [["ERM"], ["LDAM"]]


# --------------------------------------------------------------------------------------------------------------- --by


def sweep() -> list[RunRecord]:
    return [
        record("erm", seed, margin=margin, config={"optimizer": {"lr": lr}}, predictors={"plain": [], "tau": []})
        for seed in (0, 1, 10)
        for margin in ("none", "ldam")
        for lr in (0.1, 0.5)
    ]


def facts(run: RunRecord) -> dict[str, str]:
    return {**run.choices, "seed": str(run.seed), "optimizer.lr": str(run.config["optimizer"]["lr"])}


@pytest.mark.parametrize(
    ("by", "rows"),
    [
        (["margin"], [("ldam",), ("none",)]),
        (["seed"], [("0",), ("1",), ("10",)]),
        (["margin", "seed"], [(m, s) for m in ("ldam", "none") for s in ("0", "1", "10")]),
        (["optimizer.lr"], [("0.1",), ("0.5",)]),
        (["method"], [("ERM",)]),
        (["predictor"], [("plain",), ("tau",)]),
    ],
)
def test_by_any_key_averages_over_everything_else(by: list[str], rows: list[tuple[str, ...]]) -> None:
    runs = sweep()
    table = only(tables(runs, by=by))
    assert table.heads == tuple(by)
    assert [row.names for row in table.rows] == rows
    for row in table.rows:
        key = dict(row.keys)
        predictor = key.pop("predictor", "plain")
        members = [run for run in runs if key.items() <= facts(run).items()]
        expected = values(members, "accuracy", predictor)
        assert row.n == len(members)
        assert row.cells[0].mean == pytest.approx(expected.mean())
        assert row.cells[0].std == pytest.approx(expected.std(ddof=1))


def test_by_a_key_that_some_runs_lack_shows_a_dash() -> None:
    runs = [record("erm"), record("ldam", config={"margin": {"max_margin": 0.5}})]
    assert [row.names for row in only(tables(runs, by=["margin.max_margin"])).rows] == [("0.5",), ("\N{EN DASH}",)]


def test_by_never_averages_over_data_sets_unless_asked_to_tell_them_apart() -> None:
    runs = [record(), record(dataset="digits_lt", counts=[200, 50]), record(changes={"dataset.imbalance": 50})]
    runs[2].config["dataset"] = {"imbalance": 50}  # type: ignore[index]
    assert [table.title for table in tables(runs, by=["method"])] == ["cifar100_lt", "cifar100_lt [imbalance=50]", "digits_lt"]
    table, other = tables(runs, by=["dataset"])
    assert (table.title, [row.names for row in table.rows]) == ("all data sets", [("cifar100_lt",), ("digits_lt",)])
    assert other.title == "all data sets [imbalance=50]"
    assert [t.title for t in tables(runs, by=["dataset", "dataset.imbalance"])] == ["all data sets"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"by": ["margn"]}, "did you mean 'margin'"),
        ({"by": ["optimizer.lrr"]}, "did you mean 'optimizer.lr'"),
        ({"by": ["xyzzy"]}, "known: dataset"),
        ({"metric": "acuracy"}, "did you mean 'accuracy'"),
        ({"split": "validation"}, "known: test"),
    ],
)
def test_unknown_keys_get_the_nearest_name(arguments: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        tables([record()], **arguments)


def test_another_split_can_be_shown() -> None:
    runs = [record(splits=("test", "val")), record("ldam")]
    table = only(tables(runs, split="val"))
    assert names(table) == ["ERM"]  # ldam was not evaluated there
    assert table.rows[0].cells[0].mean == pytest.approx(100 * runs[0].predictors["plain"]["splits"]["val"]["accuracy"])


# ------------------------------------------------------------------------------------------------------------- caption


def test_the_caption_names_metric_groups_model_and_classes() -> None:
    caption = only(tables([record(seed=0), record(seed=1)])).caption
    for part in (
        "Top-1 accuracy (%) on the test split",
        "mean ± standard deviation (n - 1 in the denominator) over n seeds",
        "Many: more than 100 training images per class; medium: 20 to 100; few: fewer than 20",
        "Model: last epoch",
        f"8 classes, {sum(COUNTS):,} training images",
    ):
        assert part in caption
    assert "±" not in only(tables([record()])).caption
    assert "Many" not in only(tables([record()], "ece")).caption


def test_the_caption_follows_the_runs() -> None:
    run = record(config={"evaluation": {"many": 50, "few": 10}})
    other = RunRecord(**{**vars(record("ldam")), "selection": "best_val"})
    caption = only(tables([run, other])).caption
    assert "more than 50" in caption
    assert "more than 100" in caption
    assert "Model: last epoch or best epoch on the validation split" in caption
    assert "all n runs with the same margin" in only(tables([run, other], by=["margin"])).caption


def on_devices(seed: int, devices: int, **runtime: object) -> RunRecord:
    run = record(seed=seed, config={"runtime": runtime})
    return replace(run, provenance={**run.provenance, "devices": devices, "images_per_device": 128 // devices})


def test_the_caption_names_the_devices_of_a_run_and_says_whether_the_runs_of_a_row_differ() -> None:
    shares = "2, with batch normalisation over the 64 images of each"
    assert "Devices" not in only(tables([on_devices(0, 1), on_devices(1, 1)])).caption
    assert f"Devices of a run: {shares}. " in only(tables([on_devices(0, 2), on_devices(1, 2)])).caption
    mixed = only(tables([on_devices(0, 1), on_devices(1, 2)])).caption
    assert f"Devices of a run: 1; {shares} (the runs of a row differ). " in mixed
    whole = only(tables([on_devices(0, 1, sync_bn=True), on_devices(1, 2, sync_bn=True)])).caption
    assert "Devices of a run: 1; 2, with batch normalisation over the whole batch. " in whole


def test_the_cost_of_training_is_in_its_own_units() -> None:
    def timed(seed: int, seconds: float, device: str) -> RunRecord:
        measured = {
            "seconds": seconds, "seconds_per_epoch": seconds / 200, "images_per_second": 10_847 * 200 / seconds,
            "peak_memory_bytes": 3 * 2**29, "precision": "fp32", "device": device, "threads": 2,
        }  # fmt: skip
        return replace(record(seed=seed, predictors={"plain": [], "tau": []}), provenance=measured)

    table = only(tables([timed(0, 40.0, "cpu"), timed(1, 60.0, "cpu"), record("ldam")], metric="cost"))
    assert names(table) == ["ERM", "LDAM"], "a post-hoc row costs nothing"
    first, unknown = ([None if cell.mean is None else cell.text(cell.mean) for cell in row.cells] for row in table.rows)
    assert first == ["0.250", "50.0", "45196", "1536", None, None] and unknown == [None] * 6
    assert table.rows[0].cells[1].std == pytest.approx(14.142, abs=1e-3)
    assert "%" not in table.caption and "fp32 on cpu, 2 threads" in table.caption
    assert all(table.best(column) == set() for column in range(4))
    assert "0.250 ± " in FORMATS["markdown"]([table])


def test_runs_on_images_that_have_changed_share_no_table() -> None:
    """A user's own folder keeps its address when images are added to it."""
    before, after = [500, 300, 50, 5], [500, 300, 60, 5]
    found = tables([record(seed=0, counts=before), record(seed=1, counts=before), record(seed=2, counts=after)])
    assert sorted(table.rows[0].n for table in found) == [1, 2]
    assert {table.caption.rpartition("classes, ")[2] for table in found} == {"855 training images.", "865 training images."}


def test_a_deviation_has_the_decimals_of_its_mean() -> None:
    cell = Cell((0.2680, 0.2694), percent=False)
    assert (cell.text(cell.mean or 0), cell.text(cell.std or 0)) == ("0.269", "0.001")
    large = Cell((361.97, 362.03), percent=False)
    assert (large.text(large.mean or 0), large.text(large.std or 0)) == ("362", "0")
