"""Binding of configuration nodes: arguments, nested parts, allowed targets, and refusals in one sentence with the key path."""

from __future__ import annotations

import importlib
import inspect
import json
import re
import sys
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import torch

from ltrun import parts
from ltrun.config.bind import bind
from ltrun.config.values import takes
from ltrun.errors import ConfigError
from ltrun.optimizer.base import Optimizer
from ltrun.parts import Adjust, Weigh
from ltrun.reweighting import Deferred, EffectiveNumber
from ltrun.schedule.base import Schedule
from ltrun.schedule.multistep import MultiStep
from ltrun.types import Outputs
from tests.support.bindable import HERE, PATH, Everything, Lists, NeedsHead, Outer, Plain, bind_here, built, node, refused
from tests.support.cases import CONF, nodes, stats


def function(strength: float = 1.0) -> Weigh:
    return Plain(strength)


# ------------------------------------------------------------------------------------------------------------- arguments


def test_an_unknown_argument_gets_the_nearest_name() -> None:
    assert "takes no 'numbr'; did you mean 'number'?" in refused(node(Everything, numbr=1))
    assert "takes no 'xyz'; known: count, counts, " in refused(node(Everything, xyz=1))
    assert "stats" not in refused(node(Everything, xyz=1)), "ltrun injects stats, so it is not listed"
    assert refused({"_target_": f"{HERE}.Everything", 5: 1}).startswith(f"{PATH}.5: ")


def test_a_missing_argument_is_named() -> None:
    assert refused(node(Outer, depth=1)).startswith(f"{PATH}.inner: {HERE}.Outer needs a value")
    assert refused(node(Outer, inner=node(Plain))).startswith(f"{PATH}.depth: ")


def test_context_cannot_be_set() -> None:
    for value in ([1, 2], None, {"_target_": f"{HERE}.Plain"}):
        assert refused(node(Everything, stats=value)).startswith(f"{PATH}.stats: ltrun sets 'stats' itself")


def test_context_that_the_slot_does_not_have_is_named() -> None:
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


def test_an_error_of_a_constructor_begins_with_the_path_of_its_node() -> None:
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


def test_an_argument_that_may_be_none_has_no_other_default() -> None:
    """An address does not tell null from an absent key, so the second of two such runs would be skipped as done."""
    for target, name in ((Nullable, "threshold"), (Anything, "value")):
        for arguments in ({}, {name: None}, {name: 0.25}):
            said = refused(node(target, **arguments))
            assert said.startswith(f"{PATH}.{name}: ") and "would have one address" in said and "make None the default" in said
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


def test_each_build_makes_a_new_object() -> None:
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


def test_a_nested_part_must_fit_its_annotation() -> None:
    wrong = {"_target_": "ltrun.margin.LDAM"}
    assert refused(node(Outer, depth=1, inner=wrong)).startswith(f"{PATH}.inner: ltrun.margin.LDAM is not a Weigh")
    misspelt = node(Outer, depth=1, inner=node(Plain, strenth=1))
    assert refused(misspelt).startswith(f"{PATH}.inner.strenth: ")
    assert refused(node(Outer, depth=node(Plain), inner=node(Plain))).startswith(f"{PATH}.depth: ")


def test_an_optional_nested_part_must_fit_its_annotation() -> None:
    assert isinstance(built(node(Everything, part=node(Plain))).given["part"], Plain)
    assert refused(node(Everything, part={"_target_": "ltrun.margin.LDAM"})).startswith(f"{PATH}.part: ")
    assert refused(node(Everything, maybe=node(Plain))).startswith(f"{PATH}.maybe: ")
    assert isinstance(built(node(Everything, twin={"_target_": "ltrun.margin.LDAM"})).given["twin"], Adjust)


def test_a_part_in_a_list_of_numbers_or_texts_is_refused() -> None:
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
        "ltrun.parts.nn.Module",  # a class of another package, reached through ltrun
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


def test_a_target_in_the_main_module_does_not_start_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing ltrun.__main__ must not run the command line, or a file could start a second ltrun inside the first."""
    monkeypatch.setattr(sys, "argv", ["ltrun", "--version"])
    monkeypatch.delitem(sys.modules, "ltrun.__main__", raising=False)
    assert refused({"_target_": "ltrun.__main__.main"}).startswith(f"{PATH}._target_: ")


def test_a_plugin_is_allowed_only_if_it_is_named() -> None:
    content = node(Plain)
    with pytest.raises(ConfigError, match="plugins=\\[package\\]"):
        bind(content, PATH)
    assert bind(content, PATH, plugins=["tests"]).target is Plain
    with pytest.raises(ConfigError, match=r"cannot be imported.*install it, or add the folder that holds it to PYTHONPATH"):
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
        ("class X:\n    def __init__(self, a: int, stats: int): ...", "X", ["broken_plugin.X must take 'stats' after a *"]),
        ("class X:\n    def __init__(self, a: 'Missing'): ...", "X", ["an annotation of broken_plugin.X", "'Missing'"]),
    ],
)
def test_a_broken_plugin_is_refused_in_one_sentence(
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


def test_a_class_fits_a_protocol_by_its_methods() -> None:
    sgd, steps = {"_target_": "ltrun.optimizer.SGD"}, {"_target_": "ltrun.schedule.MultiStep"}
    assert isinstance(bind(steps, PATH, Schedule).build({}), MultiStep)  # type: ignore[type-abstract]
    bind(sgd, PATH, Optimizer)  # type: ignore[type-abstract]
    assert "is not an Optimizer" in refused(steps, Optimizer)
    assert "is not a Schedule" in refused(sgd, Schedule)


def test_built_parts_compute() -> None:
    focal = bind({"_target_": "ltrun.reweighting.Focal", "gamma": 2}, PATH, Weigh).build({})
    logits, labels = torch.zeros(1, 2), torch.tensor([0])
    assert focal(logits, labels, Outputs()).item() == pytest.approx(0.25)
