"""Bold numbers: the best of a column, if it differs from the second by more than the noise of the seeds."""

from dataclasses import replace

from ltrun.metrics import TASKS
from ltrun.report import Table, tables
from ltrun.report.measure import Measure
from ltrun.report.render import FORMATS
from ltrun.results.record import RunRecord
from tests.support.recorded import record

WITHIN_NOISE = "not bold, because the best two differ within noise: "
EQUAL = "not bold, because the best two are equal as printed: "


def runs(method: str, accuracies: list[float], **more: object) -> list[RunRecord]:
    found = []
    for seed, accuracy in enumerate(accuracies):
        run = record(method, seed, **more)  # type: ignore[arg-type]
        for predictor in run.predictors.values():
            predictor["splits"]["test"] |= {"accuracy": accuracy, "error": 1 - accuracy}
        found.append(run)
    return found


def table_of(*found: list[RunRecord], metric: str | None = None) -> Table:
    (table,) = tables([run for each in found for run in each], metric)
    return table


def note(table: Table, begins: str) -> str:
    return next((text for text in table.notes if text.startswith(begins)), "")


def test_beyond_noise_the_highest_accuracy_and_the_lowest_error_are_bold() -> None:
    found = [runs("erm", [0.40, 0.41, 0.42]), runs("ldam", [0.50, 0.51, 0.52])]
    assert table_of(*found).best(0) == {1} == table_of(*found, metric="error").best(0)
    assert "Welch" in note(table_of(*found), "bold: ")
    assert "All" not in note(table_of(*found), WITHIN_NOISE)
    assert "**51.0**" in FORMATS["markdown"]([table_of(*found)])


def test_within_noise_nothing_is_bold_and_a_note_says_so() -> None:
    table = table_of(runs("erm", [0.40, 0.41, 0.42]), runs("ldam", [0.38, 0.43, 0.46]))
    assert table.best(0) == set()
    assert note(table, WITHIN_NOISE).removeprefix(WITHIN_NOISE).startswith("All")
    for render in FORMATS.values():
        assert "within noise" in render([table]) or render is FORMATS["csv"]


def test_a_noisy_third_row_does_not_change_the_verdict() -> None:
    table = table_of(runs("erm", [0.40, 0.41, 0.42]), runs("crt", [0.50, 0.51, 0.52]), runs("ldam", [0.1, 0.3, 0.6]))
    assert table.best(0) == {1}


def test_one_seed_shows_no_noise() -> None:
    for other in ([0.9], [0.9, 0.91, 0.92]):
        table = table_of(runs("erm", [0.40]), runs("ldam", other))
        assert table.best(0) == set() and note(table, "not bold, because a single run shows no noise: All")
        assert "bold: " not in [text[:6] for text in table.notes]


def test_without_deviation_different_means_differ_significantly() -> None:
    assert table_of(runs("erm", [0.4, 0.4]), runs("ldam", [0.5, 0.5])).best(0) == {1}


def test_means_that_are_printed_alike_are_not_bold() -> None:
    table = table_of(runs("erm", [0.50001, 0.50001]), runs("ldam", [0.50004, 0.50004]))
    assert table.best(0) == set() and "All" in note(table, EQUAL)


def test_means_printed_alike_within_noise_are_within_noise() -> None:
    table = table_of(runs("erm", [0.40, 0.41, 0.42]), runs("ldam", [0.3801, 0.41, 0.44]))
    assert table.best(0) == set() and "All" in note(table, WITHIN_NOISE)
    assert "All" in note(table_of(runs("erm", [0.5, 0.5]), runs("ldam", [0.5, 0.5])), EQUAL)
    assert "All" in note(table_of(runs("erm", [0.5]), runs("ldam", [0.5])), EQUAL)


def test_a_lone_row_and_an_empty_group_have_no_verdict() -> None:
    table = table_of(runs("erm", [0.4, 0.5]))
    assert table.best(0) == set() and table.notes == ()
    table = table_of(runs("erm", [0.4, 0.41], counts=[500]), runs("ldam", [0.6, 0.61], counts=[500]))
    assert table.best(0) == {1} and table.best(3) == set()
    assert not any("Few" in text for text in table.notes)


def test_a_row_that_saw_test_inputs_is_neither_best_nor_second() -> None:
    sade = runs("sade", [0.50, 0.51, 0.52], predictors={"plain": [], "aggregated": ["test_inputs"]})
    for run in sade:
        run.predictors["aggregated"]["splits"]["test"]["accuracy"] = 0.52
    table = table_of(runs("erm", [0.40, 0.41, 0.42]), sade)
    assert [row.saw_test for row in table.rows] == [False, False, True]
    assert table.best(0) == {1}


def test_a_metric_without_a_better_direction_has_no_bold_number() -> None:
    found = [runs("erm", [0.4, 0.41]), runs("ldam", [0.6, 0.61])]
    metric = replace(TASKS["single_label"][0], better=None)
    table = replace(table_of(*found), measure=Measure.of(metric))
    assert all(table.verdict(column) is None for column in range(4))
