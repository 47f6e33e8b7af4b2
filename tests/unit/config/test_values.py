"""Conversion of values: a value of the right type arrives, any other value is refused with its key path."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ltrun.config.bind import bind
from ltrun.errors import ConfigError
from tests.support.bindable import HERE, PATH, Everything, built, node, refused


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("number", 3, 3.0),
        ("number", -0.25, -0.25),
        ("number", 1e308, 1e308),
        ("count", 7, 7),
        ("count", -7, -7),
        ("count", 1e0, 1),
        ("counts", [2.0], [2]),
        ("switch", True, True),
        ("text", "1", "1"),
        ("kind", "cosine", "cosine"),
        ("maybe", None, None),
        ("maybe", 2, 2.0),
        ("either", 2, 2),
        ("either", "two", "two"),
        ("numbers", [1, 2.5], [1.0, 2.5]),
        ("numbers", [], []),
        ("counts", [1, 2], [1, 2]),
        ("counts", None, None),
        ("texts", ["a", "b"], ["a", "b"]),
        ("part", None, None),
    ],
)
def test_a_value_of_the_right_type_arrives(name: str, value: Any, expected: Any) -> None:
    found = built(node(Everything, **{name: value})).given[name]
    assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("number", [True, False, "1", "1e-4", None, [1.0], {}, math.inf, -math.inf, math.nan]),
        ("count", [True, False, 1.5, 0.5, "1", None, [1], math.nan, math.inf]),
        ("switch", [0, 1, "true", "false", None, [], 1.0]),
        ("text", [1, True, None, ["a"], {"a": 1}]),
        ("kind", ["L2", "", None, 0, ["l2"], {"l2": 1}]),
        ("maybe", [True, "null", math.nan, math.inf, [None]]),
        ("either", [True, 1.5, None, [1]]),
        ("numbers", [1.0, "12", [True], [math.nan], [[1.0]], [None], {"0": 1.0}, None]),
        ("counts", [[1.5], [True], 3, "12", [None]]),
        ("texts", ["ab", [1], [None]]),
        ("part", ["plain", 3, {}, {"strength": 1.0}, []]),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_with_its_path(name: str, values: list[Any]) -> None:
    for value in values:
        sentence = refused(node(Everything, **{name: value}))
        assert sentence.startswith(f"{PATH}.{name}: expected ") and "got" in sentence, sentence


def test_a_number_too_large_for_a_float_is_not_finite() -> None:
    assert refused(node(Everything, number=10**400)).startswith(f"{PATH}.number: expected a finite number")
    assert refused(node(Everything, maybe=-(10**400))).startswith(f"{PATH}.maybe: expected ")
    assert refused(node(Everything, numbers=[1.0, 10**400])).startswith(f"{PATH}.numbers: expected ")


def fits(value: Any, name: str) -> bool:
    """Whether the annotation of Everything's argument allows the value: a second, independent implementation."""

    def whole(v: Any) -> bool:
        return type(v) is int or (type(v) is float and v.is_integer())

    def number(v: Any) -> bool:
        return type(v) in (int, float) and -1.8e308 < v < 1.8e308

    return {
        "number": number(value),
        "count": whole(value),
        "switch": type(value) is bool,
        "text": type(value) is str,
        "kind": value in ("l2", "cosine"),
        "maybe": value is None or number(value),
        "either": whole(value) or type(value) is str,
        "numbers": type(value) is list and all(map(number, value)),
        "counts": value is None or (type(value) is list and all(map(whole, value))),
        "texts": value is None or (type(value) is list and all(type(v) is str for v in value)),
        "part": value is None,
        "twin": value is None,
    }[name]


plain_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["l2", "cosine", "true", "nan", "1"]),
)
values = st.recursive(
    plain_values,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
names = st.sampled_from(
    ["number", "count", "switch", "text", "kind", "maybe", "either", "numbers", "counts", "texts", "part", "twin"]
)


@settings(max_examples=300, deadline=None)
@given(names, values)
@example("numbers", [2**53 + 1])  # no float64 holds this number: it is rounded, as on the command line
def test_any_value_fits_or_is_refused(name: str, value: Any) -> None:
    content = node(Everything, **{name: value})
    try:
        arrived = built(content).given[name]
    except ConfigError as error:
        assert not fits(value, name), f"{value!r} fits {name}"
        assert str(error).startswith(f"{PATH}.{name}")
    else:
        assert fits(value, name), f"{value!r} does not fit {name}"
        if isinstance(arrived, list):
            assert arrived == [float(item) if name == "numbers" else item for item in value]
        else:
            assert arrived == (float(value) if isinstance(arrived, float) else value)


@settings(max_examples=200, deadline=None)
@given(values)
@example("\n")
def test_any_value_in_place_of_a_node_or_a_target_is_refused(content: Any) -> None:
    """In place of the node, of the target of the node, and of the target of a nested node."""
    for candidate in (content, {"_target_": content}, {"_target_": f"{HERE}.Everything", "twin": {"_target_": content}}):
        assert refused(candidate)


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=12))
@example("\0")
@example(".")
@example("..os.system")
@example("ltrun")
@example("build.math.inf")
def test_any_name_after_ltrun_that_is_no_class_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="_target_"):
        bind({"_target_": f"ltrun.{name}"}, PATH)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.text(st.characters(exclude_categories=["C", "Z"]), max_size=8), plain_values, max_size=3))
def test_an_extra_key_is_refused(extra: dict[str, Any]) -> None:
    unknown = set(extra) - set(Everything.__init__.__annotations__) - {"_target_"}
    if unknown:
        refused({**extra, "_target_": f"{HERE}.Everything"})
