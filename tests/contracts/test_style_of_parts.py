"""The style of ltrun's parts, and a training loop that names none of them."""

from __future__ import annotations

import ast
import importlib

import pytest

from ltrun.contracts import style
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
def test_a_part_follows_the_style(part: type, subtests: pytest.Subtests) -> None:
    for contract in style.of_a_part(part):
        with subtests.test(msg=contract.name):
            contract.check()


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
    lowered = {name.lower() for name in names} - {"cuda", "open"}  # the device and the verb
    assert {word for word in words if word.lower() in lowered} == set()
    inside = {word for word in words if any(word == f or word.startswith(f"{f}.") for f in families)}
    assert {word for word in inside if not word.endswith(".base")} == set(), "what a family is to the loop is in its base"


@pytest.mark.parametrize("file", ["trainer.py", "stage.py", "context.py"])
def test_the_loop_does_not_check_the_class_of_a_part(file: str) -> None:
    """isinstance is for normalisation layers and for finding the parts of a stage; there is no hasattr, getattr or type()."""
    _, tree = loop_words(file)
    calls = [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert not [name for name, _ in calls if name in ("hasattr", "getattr", "issubclass", "type", "vars")]
    asked = [ast.unparse(call.args[1]) for name, call in calls if name == "isinstance"]
    assert set(asked) <= {"Part", "nn.modules.batchnorm._NormBase", "Tensor"}
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Match)]
