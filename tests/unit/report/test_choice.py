"""The sentence that says which method to take, on small tables whose numbers are worked out by hand."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from ltrun.report.choice import choice, with_costs
from ltrun.results.record import RunRecord
from ltrun.statistics.means import interval
from tests.support.recorded import record

Values = tuple[float, float, float]  # macro, many, few


def runs(
    method: str, values: Sequence[Values], seconds: float, sees: Sequence[str] = (), name: str = "plain"
) -> list[RunRecord]:
    """Returns a run a seed. values: on the validation split; on the test split, macro is 5 points less."""
    found = []
    for seed, (macro, many, few) in enumerate(values):
        run = record(method, seed, splits=("val", "test"), predictors={name: list(sees)}, headline=name)
        splits = run.predictors[name]["splits"]
        splits["val"] |= {"macro": macro, "many": many, "few": few}
        splits["test"] |= {"macro": macro - 0.05}
        found.append(replace(run, provenance={**run.provenance, "seconds": seconds}))
    return found


def said(*found: list[RunRecord]) -> str:
    (table,) = with_costs([run for each in found for run in each])
    return choice(table)


ERM = runs("erm", [(0.50, 0.8, 0.1), (0.51, 0.8, 0.1), (0.52, 0.8, 0.1)], 10)
CRT = runs("crt", [(0.57, 0.7, 0.3), (0.59, 0.7, 0.3), (0.61, 0.7, 0.3)], 15)


def test_the_best_mean_is_taken_with_its_interval_and_what_tail_and_head_exchange() -> None:
    # differences 7, 8, 9: mean 8, error 1 / sqrt(3), quantile of t with 2 degrees 4.3027: 8 +- 2.48
    assert said(ERM, CRT) == (
        "Take cRT (method=crt): 59.0% on the validation split as a mean over classes (54.0% on the test split, which chose "
        "nothing); its lead over ERM, the second, is 8.0 points, with a 95% interval of 5.5 to 10.5 over 3 seeds, so chance "
        "hardly explains it; against ERM, the tail (few-shot classes) gains 20.0 points and the head (many-shot classes) loses "
        "10.0 points, at 1.5 times the time of training."
    )


def test_a_lead_within_the_noise_of_the_seeds_is_told() -> None:
    noisy = runs("ride", [(0.50, 0.8, 0.1), (0.60, 0.8, 0.1), (0.70, 0.8, 0.1)], 30)  # differences -7, 1, 9
    sentence = said(CRT, noisy)
    assert (
        sentence.startswith("Take RIDE (method=ride): 60.0%")
        and "is 1.0 points, with a 95% interval of -18.9 to 20.9" in sentence
    )
    assert sentence.endswith("so chance may explain it.")


def test_one_seed_leaves_the_interval_unknown() -> None:
    assert "is 7.0 points, with an unknown interval, because one seed shows no noise;" in said(ERM[:1], CRT[:1])
    assert "because seeds that differ show no noise" in said(ERM[:1], CRT[1:2])


def test_of_equal_means_the_cheaper_is_taken() -> None:
    twin = runs("ldam", [(0.5701, 0.7, 0.2), (0.5899, 0.7, 0.2), (0.61, 0.7, 0.2)], 14)
    assert said(ERM, CRT, twin).startswith("Take LDAM (method=ldam): 59.0%")
    assert "; cRT is equal as printed, and not cheaper; against ERM, the tail" in said(ERM, CRT, twin)


def test_plain_training_may_be_the_best() -> None:
    worse = runs("crt", [(0.4, 0.7, 0.2)] * 3, 15)
    assert said(ERM, worse).endswith("; no other method is better than plain training.")
    assert "there is no other method to compare it with; no other method is better" in said(ERM)


def test_a_row_that_saw_test_inputs_is_never_taken() -> None:
    saw = runs("sade", [(0.9, 0.9, 0.9)] * 3, 15, ["test_inputs"], "sade_aggregation")
    assert said(ERM, CRT, saw) == said(ERM, CRT)
    assert said(saw) == "No method was measured on validation images, so none can be chosen."


def test_groups_without_classes_and_groups_that_stay_are_told() -> None:
    same = runs("crt", [(0.6, 0.8, 0.3)] * 3, 15)
    assert "the head (many-shot classes) stays as it is" in said(ERM, same)
    for run in (changed := runs("crt", [(0.6, 0.8, 0.3)] * 3, 15)):
        run.predictors["plain"]["splits"]["val"]["few"] = None
    assert "against ERM, there are no few-shot classes and the head" in said(ERM, changed)


def test_the_table_has_the_time_of_training() -> None:
    (table,) = with_costs([*ERM, *CRT])
    assert table.columns == ("Macro", "Many", "Medium", "Few", "s") and table.split == "val"
    assert [row.cells[-1].mean for row in table.rows] == [10, 15]
    assert table.best(4) == set()


@pytest.mark.parametrize(
    ("values", "quantile"), [([1.0, 3.0], 12.7062), ([1.0, 2.0, 6.0], 4.30265), ([0.0, 1.0, 2.0, 3.0, 4.0], 2.77645)]
)
def test_an_interval_is_students(values: list[float], quantile: float) -> None:
    mean, n = sum(values) / len(values), len(values)
    error = (sum((v - mean) ** 2 for v in values) / (n - 1) / n) ** 0.5
    found = interval(values)
    assert found == pytest.approx((mean - quantile * error, mean + quantile * error), abs=1e-4)
    assert interval(values[:1]) is None
