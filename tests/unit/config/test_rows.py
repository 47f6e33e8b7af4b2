"""Table rows of post-hoc options: one per predictor, or one per value of its `each`, named by the value."""

from __future__ import annotations

from typing import Any

import pytest

from ltrun.config.rows import rows_of
from ltrun.errors import ConfigError
from tests.support.cases import assembled, bound, composed

PART = {"_target_": "ltrun.posthoc.TauNorm"}


def swept(values: Any, **more: Any) -> dict[str, Any]:
    return {"predictors": {"la": {"each": {"tau": values}, "part": PART, **more}}}


def test_each_value_of_each_is_a_row_named_by_the_value() -> None:
    rows = rows_of(swept([0.25, 0, 1.0, 1e0 + 1, 1.5, 1e-6, -2, 10**20, "l2"]))
    assert list(rows) == ["la_0.25", "la_0", "la_1", "la_2", "la_1.5", "la_1e-06", "la_-2", "la_100000000000000000000", "la_l2"]
    assert rows["la_1"] == ("posthoc.predictors.la.part", {**PART, "tau": 1.0})


def test_a_predictor_without_each_is_one_row() -> None:
    assert rows_of({"predictors": {"ncm": PART}}) == {"ncm": ("posthoc.predictors.ncm", PART)}
    assert rows_of(None) == rows_of({}) == rows_of({"predictors": None}) == {}


def test_a_part_and_its_sweep_may_be_chosen_together() -> None:
    rows = rows_of(swept([1, 2], tau=0.5, _target_=PART["_target_"]))
    assert list(rows) == ["la", "la_1", "la_2"] and rows["la"] == ("posthoc.predictors.la", {**PART, "tau": 0.5})


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["logit_adjustment_sweep"], ["la_0.25", "la_0.5", "la_0.75", "la_1", "la_1.5", "la_2"]),
        (["tau_norm_sweep"], [f"tau_norm_{tau}" for tau in ("0", "0.25", "0.5", "0.75", "1", "1.5", "2")]),
        (["tau_norm", "tau_norm_sweep", "ncm"], ["tau_norm", "tau_norm_0", "tau_norm_2", "ncm"]),
    ],
    ids=str,
)
def test_an_option_with_each_gives_a_row_per_value(options: list[str], names: list[str]) -> None:
    posthoc = bound(composed(f"posthoc=[{','.join(options)}]")).posthoc
    assert [name for name in posthoc if name in names] == names
    assert all(part.arguments["tau"] == float(name.rpartition("_")[2]) for name, part in posthoc.items() if name[-1].isdigit())


def test_every_row_of_tde_sweep_has_the_number_of_heads_of_the_classifier() -> None:
    posthoc = bound(assembled({"posthoc": "tde_sweep", "classifier": "causal"})).posthoc
    assert list(posthoc) == [f"tde_{alpha}" for alpha in ("0.5", "0.75", "1", "1.5", "2", "3")]
    assert {part.arguments["num_heads"] for part in posthoc.values()} == {2}


@pytest.mark.parametrize(
    ("posthoc", "said"),
    [
        (5, "posthoc: expected a mapping of names to values"),
        ({"adjust": {}}, "posthoc.adjust: a post-hoc option has 'predictors' only"),
        ({"predictors": ["x"]}, "posthoc.predictors: expected a mapping of names to values"),
        (swept([]), "posthoc.predictors.la.each.tau: expected a list of at least one value, got []"),
        (swept(None), "posthoc.predictors.la.each.tau: expected a list of at least one value"),
        (swept(1.0), "posthoc.predictors.la.each.tau: expected a list of at least one value"),
        (swept([1, 1.0]), "posthoc.predictors.la: there is another row 'la_1'"),
        (swept([True]), "posthoc.predictors.la.each.tau: expected finite numbers, or words, got True"),
        (swept([float("nan")]), "posthoc.predictors.la.each.tau: expected finite numbers"),
        (swept([None]), "posthoc.predictors.la.each.tau: expected finite numbers"),
        (swept([[1]]), "posthoc.predictors.la.each.tau: expected finite numbers"),
        (swept(["../x"]), "posthoc.predictors.la.each.tau: expected finite numbers"),
        (swept([1], part=None), "posthoc.predictors.la.part: expected a part"),
        (swept([1], part={**PART, "tau": 1}), "posthoc.predictors.la.part.tau: 'each' gives the values of 'tau'"),
        (swept([1], each=[1, 2]), "posthoc.predictors.la.each: expected one argument with a list of values"),
        (swept([1], each={}), "posthoc.predictors.la.each: expected one argument"),
        (swept([1], each={"tau": [1], "alpha": [2]}), "posthoc.predictors.la.each: expected one argument"),
        (
            {"predictors": {"la_1": PART, **swept([1])["predictors"]}},
            "posthoc.predictors.la: there is another row 'la_1'",
        ),
    ],
    ids=str,
)
def test_a_malformed_posthoc_option_is_refused_in_one_sentence(posthoc: Any, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        rows_of(posthoc)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_an_argument_or_a_value_that_the_part_does_not_take_is_named() -> None:
    composition = assembled({})
    for posthoc, said in {
        "tua": "posthoc.predictors.la.part.tua: ltrun.posthoc.TauNorm takes no 'tua'; did you mean 'tau'?",
        "tau": "posthoc.predictors.la.part.tau: expected a finite number, got 'l2'",
    }.items():
        node = {"predictors": {"la": {"each": {posthoc: ["l2"]}, "part": PART}}}
        with pytest.raises(ConfigError) as caught:
            bound((composition[0] | {"posthoc": node}, composition[1]))
        assert str(caught.value) == said
