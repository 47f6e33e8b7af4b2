"""A node of the configuration becomes the object it describes, or one sentence with its key path; nothing else ever runs."""

from __future__ import annotations

import importlib
import inspect
import json
import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_type_hints

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ltrun import parts
from ltrun.config.bind import Bound, bind
from ltrun.config.values import takes
from ltrun.errors import ConfigError
from ltrun.optimizer.base import Optimizer
from ltrun.parts import Adjust, Part, Weigh
from ltrun.reweighting import Deferred, EffectiveNumber
from ltrun.schedule.base import Schedule
from ltrun.schedule.multistep import MultiStep
from ltrun.types import ClassStats, Outputs
from tests.support.cases import CONF, nodes, stats

HERE = __name__  # a plugin: its classes may be named
PATH = "stages.joint.margin"


class Plain(Weigh):
    def __init__(self, strength: float = 1.0):
        super().__init__()
        if strength < 0:
            raise ConfigError(f"strength must not be negative, got {strength}")
        self.strength = strength


class Everything(Part):
    """One argument of every kind of annotation that build knows."""

    def __init__(
        self,
        number: float = 0.5,
        count: int = 1,
        switch: bool = False,
        text: str = "",
        kind: Literal["l2", "cosine"] = "l2",
        maybe: float | None = None,
        either: int | str = 0,
        numbers: Sequence[float] = (),
        counts: list[int] | None = None,
        texts: list[str] | None = None,
        part: Weigh | None = None,
        twin: Part | None = None,
        *,
        stats: ClassStats,
    ):
        super().__init__()
        self.given: dict[str, Any] = {"number": number, "count": count, "switch": switch, "text": text, "kind": kind}
        self.given |= {"maybe": maybe, "either": either, "numbers": numbers, "counts": counts, "texts": texts}
        self.given |= {"part": part, "twin": twin}
        self.stats = stats


class Lists(Part):
    """A list of parts, which build does not know, and a union of two kinds."""

    def __init__(self, several: list[Weigh], either: Weigh | Adjust | None = None, free: Any = None):
        super().__init__()
        self.either, self.free = either, free


class Outer(Part):
    def __init__(self, inner: Weigh, depth: int, *, num_classes: int):
        super().__init__()
        self.inner, self.depth, self.num_classes = inner, depth, num_classes


class NeedsHead(Part):
    def __init__(self, inner: Weigh | None = None, *, head: Part):
        super().__init__()


def function(strength: float = 1.0) -> Weigh:
    return Plain(strength)


def node(target: type | str, **arguments: Any) -> dict[str, Any]:
    return {"_target_": target if isinstance(target, str) else f"{HERE}.{target.__name__}", **arguments}


def bind_here(content: Any, expected: type | None = None) -> Bound[Any]:
    return bind(content, PATH, expected, plugins=["tests"])


def refused(content: Any, expected: type | None = None) -> str:
    """The sentence of the refusal."""
    with pytest.raises(ConfigError) as caught:
        bind_here(content, expected)
    sentence = str(caught.value)
    assert sentence.startswith(PATH) and "\n" not in sentence
    return sentence


def built(content: Any) -> Everything:
    part = bind_here(content).build({"stats": stats()})
    assert isinstance(part, Everything)
    return part


# ------------------------------------------------------------------------------------------------------------------ types


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
    """Whether the annotation of Everything's argument allows the value: written a second time, by hand."""

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
@example("numbers", [2**53 + 1])  # no float: it is rounded, as on the command line
def test_whatever_the_value_it_fits_or_is_refused(name: str, value: Any) -> None:
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
def test_whatever_the_node_it_binds_or_is_refused(content: Any) -> None:
    """A node that is no mapping, or whose target is anything."""
    for candidate in (content, {"_target_": content}, {"_target_": f"{HERE}.Everything", "twin": {"_target_": content}}):
        assert refused(candidate)


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=12))
@example("\0")
@example(".")
@example("..os.system")
@example("ltrun")
@example("build.math.inf")
def test_whatever_name_comes_behind_ltrun_it_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="_target_"):
        bind({"_target_": f"ltrun.{name}"}, PATH)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.text(st.characters(exclude_categories=["C", "Z"]), max_size=8), plain_values, max_size=3))
def test_no_extra_key_is_let_through(extra: dict[str, Any]) -> None:
    unknown = set(extra) - set(Everything.__init__.__annotations__) - {"_target_"}
    if unknown:
        refused({**extra, "_target_": f"{HERE}.Everything"})


# ------------------------------------------------------------------------------------------------------------- arguments


def test_an_unknown_argument_gets_the_nearest_name() -> None:
    assert "takes no 'numbr'; did you mean 'number'?" in refused(node(Everything, numbr=1))
    assert "takes no 'xyz'; known: count, counts, " in refused(node(Everything, xyz=1))
    assert "stats" not in refused(node(Everything, xyz=1)), "what ltrun injects is not for configuring"
    assert refused({"_target_": f"{HERE}.Everything", 5: 1}).startswith(f"{PATH}.5: ")


def test_a_missing_argument_is_named() -> None:
    assert refused(node(Outer, depth=1)).startswith(f"{PATH}.inner: {HERE}.Outer needs a value")
    assert refused(node(Outer, inner=node(Plain))).startswith(f"{PATH}.depth: ")


def test_context_cannot_be_set() -> None:
    for value in ([1, 2], None, {"_target_": f"{HERE}.Plain"}):
        assert refused(node(Everything, stats=value)).startswith(f"{PATH}.stats: ltrun sets 'stats' itself")


def test_context_that_a_slot_does_not_have_is_named() -> None:
    part = bind_here(node(NeedsHead))
    with pytest.raises(ConfigError, match=rf"^{PATH}: .*NeedsHead needs 'head', which this slot does not have"):
        part.build({"stats": stats(), "num_classes": 3})


def test_context_is_injected_into_nested_parts() -> None:
    content = {"_target_": "ltrun.reweighting.Deferred", "then": {"_target_": "ltrun.reweighting.EffectiveNumber"}, "start": 0}
    part = bind_here(content, Weigh)
    assert part.wants("stats") and not part.wants("classify")
    deferred = part.build({"stats": stats(), "head": "not asked for"})
    assert isinstance(deferred, Deferred) and isinstance(deferred.then, EffectiveNumber)
    assert deferred.start == 0.0 and isinstance(deferred.start, float)
    assert len(deferred.then.weights) == 10


def test_what_a_constructor_refuses_has_the_path_of_its_node() -> None:
    with pytest.raises(ConfigError, match=rf"^{PATH}\.strength must not be negative, got -1.0$"):
        bind_here(node(Plain, strength=-1)).build({})
    nested = node(Outer, depth=1, inner=node(Plain, strength=-1))
    with pytest.raises(ConfigError, match=rf"^{PATH}\.inner\.strength must not be negative"):
        bind_here(nested).build({"num_classes": 3})


class Nullable(Weigh):
    def __init__(self, threshold: float | None = 0.5):
        super().__init__()


class Anything(Weigh):
    def __init__(self, value: Any = 1):
        super().__init__()


class Unsaid(Weigh):
    def __init__(self, value=1):  # type: ignore[no-untyped-def]
        super().__init__()


def test_an_argument_for_which_null_is_another_value_than_nothing_is_refused() -> None:
    """An address takes null and nothing for one, so that the second of two runs would pass for done."""
    for target, name in ((Nullable, "threshold"), (Anything, "value")):
        for arguments in ({}, {name: None}, {name: 0.25}):
            said = refused(node(target, **arguments))
            assert said.startswith(f"{PATH}.{name}: ") and "would have one address" in said and "be None" in said
    assert f"{PATH}.value: " in refused(node(Unsaid, value=None))
    assert bind_here(node(Unsaid)).arguments == {} and bind_here(node(Unsaid, value=2)).arguments == {"value": 2}


def test_no_part_of_ltrun_is_refused_for_its_defaults() -> None:
    for path in sorted(CONF.rglob("*.yaml")):
        for target in set(re.findall(r"_target_: (\S+)", path.read_text())):
            module, _, name = target.rpartition(".")
            signature = inspect.signature(getattr(importlib.import_module(module), name))
            hints = get_type_hints(getattr(importlib.import_module(module), name).__init__)
            for key, parameter in signature.parameters.items():
                nullable = takes(None, hints.get(key, float))
                assert not nullable or parameter.default in (None, parameter.empty), f"{target}: {key}"


def test_each_build_is_an_object_of_its_own() -> None:
    part = bind_here(node(Outer, depth=1, inner=node(Plain)))
    first, second = part.build({"num_classes": 3}), part.build({"num_classes": 4})
    assert first is not second and first.inner is not second.inner
    assert (first.num_classes, second.num_classes) == (3, 4)


def test_binding_changes_nothing_in_the_configuration() -> None:
    content = node(Outer, depth=1, inner=node(Plain, strength=2))
    before = json.dumps(content)
    bind_here(content).build({"num_classes": 3})
    assert json.dumps(content) == before


# ---------------------------------------------------------------------------------------------------------- nested parts


def test_a_nested_part_is_held_against_its_annotation() -> None:
    wrong = {"_target_": "ltrun.margin.LDAM"}
    assert refused(node(Outer, depth=1, inner=wrong)).startswith(f"{PATH}.inner: ltrun.margin.LDAM is not a Weigh")
    misspelt = node(Outer, depth=1, inner=node(Plain, strenth=1))
    assert refused(misspelt).startswith(f"{PATH}.inner.strenth: ")
    assert refused(node(Outer, depth=node(Plain), inner=node(Plain))).startswith(f"{PATH}.depth: ")


def test_an_optional_nested_part_is_held_against_its_annotation() -> None:
    assert isinstance(built(node(Everything, part=node(Plain))).given["part"], Plain)
    assert refused(node(Everything, part={"_target_": "ltrun.margin.LDAM"})).startswith(f"{PATH}.part: ")
    assert refused(node(Everything, maybe=node(Plain))).startswith(f"{PATH}.maybe: ")
    assert isinstance(built(node(Everything, twin={"_target_": "ltrun.margin.LDAM"})).given["twin"], Adjust)


def test_parts_are_not_taken_where_numbers_or_texts_are_listed() -> None:
    for name in ("numbers", "counts", "texts"):
        assert refused(node(Everything, **{name: [node(Plain)]})).startswith(f"{PATH}.{name}")


def test_one_part_is_not_a_list_of_parts() -> None:
    assert refused(node(Lists, several=node(Plain))).startswith(f"{PATH}.several: expected a list of ")
    assert refused(node(Everything, counts=node(Plain))).startswith(f"{PATH}.counts: expected ")


def test_a_part_of_either_kind_fits_a_union() -> None:
    weigh, adjust = node(Plain), {"_target_": "ltrun.margin.LDAM"}
    context = {"stats": stats()}
    assert isinstance(bind_here(node(Lists, several=[], either=weigh)).build(context).either, Plain)
    assert isinstance(bind_here(node(Lists, several=[], either=adjust)).build(context).either, Adjust)
    sentence = refused(node(Lists, several=[], either={"_target_": "ltrun.schedule.MultiStep"}))
    assert sentence.startswith(f"{PATH}.either: ltrun.schedule.MultiStep is not a Weigh or Adjust")
    assert isinstance(bind_here(node(Lists, several=[], free=weigh)).build(context).free, Plain)


# --------------------------------------------------------------------------------------------------------------- targets


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "torch.load",
        "ltrun",
        "ltrun.cli.main",  # a function
        "ltrun.config.bind.bind",
        "ltrun.margin",  # a module
        "ltrun.parts.nn.Module",  # a class of somebody else, through ltrun
        "ltrun.parts.nn",
        "ltrun.margin.ldam.Tensor",
        "ltrun.results.record.Path",
        "ltrun.types.Any",
        "ltrun.taxonomy.SLOTS",
        "ltrunx.margin.LDAM",
        "LTRUN.margin.LDAM",
        " ltrun.margin.LDAM",
        "",
        ".",
        "ltrun.",
        ".ltrun",
        f"{__name__}.function",
        f"{__name__}.torch",
        f"{__name__}.PATH",
    ],
)
def test_only_classes_of_allowed_packages_are_targets(target: str) -> None:
    sentence = refused({"_target_": target})
    assert sentence.startswith(f"{PATH}._target_: ")


def test_a_refused_module_is_never_imported() -> None:
    for name in ("this", "antigravity", "turtledemo"):
        sys.modules.pop(name, None)
        refused({"_target_": f"{name}.x"})
        assert name not in sys.modules


def test_the_program_itself_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing ltrun.__main__ must not run the command line: a file would then start a second ltrun inside the first."""
    monkeypatch.setattr(sys, "argv", ["ltrun", "--version"])
    monkeypatch.delitem(sys.modules, "ltrun.__main__", raising=False)
    assert refused({"_target_": "ltrun.__main__.main"}).startswith(f"{PATH}._target_: ")


def test_a_plugin_is_allowed_only_where_it_is_named() -> None:
    content = node(Plain)
    with pytest.raises(ConfigError, match="plugins=\\[package\\]"):
        bind(content, PATH)
    assert bind(content, PATH, plugins=["tests"]).target is Plain
    with pytest.raises(ConfigError, match=r"cannot be imported.*install it, or name the folder that it lies in in PYTHONPATH"):
        bind({"_target_": "no_such_package_xyz.Thing"}, PATH, plugins=["no_such_package_xyz"])


def test_a_misspelt_class_gets_the_nearest_name() -> None:
    assert "ltrun.margin has no 'LDM'; did you mean 'LDAM'?" in refused({"_target_": "ltrun.margin.LDM"})
    assert "cannot be imported" in refused({"_target_": "ltrun.margins.LDAM"})


@pytest.mark.parametrize(
    ("module", "target", "words"),
    [
        (
            "1 / 0",
            "X",
            ["cannot be imported: ZeroDivisionError: division by zero (", "broken_plugin.py, line 1"],
        ),
        ("def (:", "X", ["'broken_plugin.X' cannot be imported: SyntaxError: ", "broken_plugin.py, line 1"]),
        ("import nowhere_at_all", "X", ["cannot be imported: No module named 'nowhere_at_all' (", "broken_plugin.py, line 1"]),
        ("class X:\n    def __init__(self, a: int, stats: int): ...", "X", ["broken_plugin.X must take 'stats' behind a *"]),
        ("class X:\n    def __init__(self, a: 'Missing'): ...", "X", ["an annotation of broken_plugin.X", "'Missing'"]),
    ],
)
def test_a_broken_plugin_is_one_sentence(
    module: str, target: str, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_plugin.py").write_text(module)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "broken_plugin", raising=False)
    with pytest.raises(ConfigError) as caught:
        bind({"_target_": f"broken_plugin.{target}", "a": 1}, PATH, plugins=["broken_plugin"])
    monkeypatch.delitem(sys.modules, "broken_plugin", raising=False)
    assert str(caught.value).startswith(PATH)
    for part in words:
        assert part in str(caught.value)


def test_the_kind_of_a_part_is_checked() -> None:
    kinds = {
        "resampling": ("class_balanced", "sampler", parts.Sampler),
        "reweighting": ("focal", "weigh", parts.Weigh),
        "margin": ("ldam", "adjust", parts.Adjust),
        "classifier": ("cosine", "head", parts.Head),
        "ensemble": ("ride", "network", parts.Network),
    }
    for slot, (option, role, right) in kinds.items():
        content = nodes()[slot][option][0][slot][role]
        assert bind(content, PATH, right).target
        for _, _, wrong in kinds.values():
            if wrong is not right:
                with pytest.raises(ConfigError, match=rf"is not an? {wrong.__name__}"):
                    bind(content, PATH, wrong)


def test_a_protocol_is_a_kind_by_its_methods() -> None:
    sgd, steps = {"_target_": "ltrun.optimizer.SGD"}, {"_target_": "ltrun.schedule.MultiStep"}
    assert isinstance(bind(steps, PATH, Schedule).build({}), MultiStep)  # type: ignore[type-abstract]
    bind(sgd, PATH, Optimizer)  # type: ignore[type-abstract]
    assert "is not an Optimizer" in refused(steps, Optimizer)
    assert "is not a Schedule" in refused(sgd, Schedule)


def test_built_parts_compute() -> None:
    focal = bind({"_target_": "ltrun.reweighting.Focal", "gamma": 2}, PATH, Weigh).build({})
    logits, labels = torch.zeros(1, 2), torch.tensor([0])
    assert focal(logits, labels, Outputs()).item() == pytest.approx(0.25)
