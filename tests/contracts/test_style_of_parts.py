"""Parts are written in one style, and the loop knows none of them."""

from __future__ import annotations

import ast
import importlib
import inspect
import re

import pytest
from torch import nn

from ltrun import parts
from ltrun.parts import Part
from ltrun.taxonomy import SLOTS
from tests.support.cases import OPTIONS
from tests.support.tree import FAMILIES, PACKAGE, PART_FAMILIES


def part_classes() -> list[type]:
    found = []
    for family in PART_FAMILIES:
        module = importlib.import_module(f"ltrun.{family}")
        found += [getattr(module, name) for name in module.__all__]
    return found


@pytest.mark.parametrize("part", part_classes(), ids=lambda part: part.__name__)
def test_a_part_is_made_of_named_and_annotated_arguments(part: type) -> None:
    assert inspect.getdoc(part), "no docstring"
    if "__init__" in vars(part):
        for name, parameter in list(inspect.signature(vars(part)["__init__"]).parameters.items())[1:]:
            assert parameter.kind is not inspect.Parameter.VAR_KEYWORD, "takes **kwargs"
            assert parameter.annotation is not inspect.Parameter.empty, f"{name} is not annotated"
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
                assert name in parts.CONTEXT, f"{name} is keyword-only, which is for context"
            else:
                assert name not in parts.CONTEXT, f"{name} is context, which is keyword-only"


@pytest.mark.parametrize("part", part_classes(), ids=lambda part: part.__name__)
def test_one_level_of_inheritance(part: type) -> None:
    slots = {value for value in vars(parts).values() if inspect.isclass(value)} | {Part, nn.Module}
    (base,) = part.__bases__
    assert base in slots, f"{part.__name__} inherits from {base.__name__}, which is no slot"


@pytest.mark.parametrize("part", part_classes(), ids=lambda part: part.__name__)
def test_a_part_adds_no_hook(part: type) -> None:
    """A third hook is a smell: what the trainer calls is in parts.py, everything else is the part's own business."""
    hooks = {"adapt", "after_step"}
    for name in hooks & set(vars(part)):
        wanted = inspect.signature(getattr(Part, name)).parameters
        assert list(inspect.signature(vars(part)[name]).parameters) == list(wanted)
    assert not [name for name in vars(part) if re.match(r"(on|before|after)_", name) and name not in hooks]


def loop_words(file: str) -> tuple[set[str], ast.AST]:
    tree = ast.parse((PACKAGE / "engine" / file).read_text())
    words = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    words |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    words |= {node.arg for node in ast.walk(tree) if isinstance(node, (ast.arg, ast.keyword)) and node.arg}
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    words |= {alias.name for node in imported for alias in node.names} | {node.module or "" for node in imported}
    words |= {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return words, tree


@pytest.mark.parametrize("file", ["trainer.py", "stage.py", "context.py"])
def test_the_loop_names_no_method_and_no_family(file: str) -> None:
    words, _ = loop_words(file)
    plain = {"data", "none", "linear", "sgd", "cosine", "erm"}
    names = {option for group in (*SLOTS, "method") for option in OPTIONS[group]} - plain
    names |= {part.__name__ for part in part_classes()}
    families = {f"ltrun.{family}" for family in FAMILIES}
    lowered = {name.lower() for name in names}
    assert {word for word in words if word.lower() in lowered} == set()
    inside = {word for word in words if any(word == f or word.startswith(f"{f}.") for f in families)}
    assert {word for word in inside if not word.endswith(".base")} == set(), "what a family is to the loop is in its base"


@pytest.mark.parametrize("file", ["trainer.py", "stage.py", "context.py"])
def test_the_loop_asks_no_part_what_it_is(file: str) -> None:
    """isinstance is for normalisation layers and for finding the parts of a stage; there is no hasattr, getattr or type()."""
    _, tree = loop_words(file)
    calls = [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert not [name for name, _ in calls if name in ("hasattr", "getattr", "issubclass", "type", "vars")]
    asked = [ast.unparse(call.args[1]) for name, call in calls if name == "isinstance"]
    assert set(asked) <= {"Part", "nn.modules.batchnorm._NormBase", "Tensor"}
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Match)]
