"""The tree keeps what DESIGN.md promises: family = package = group = slot, headers, layers, lazy imports, packaging."""

from __future__ import annotations

import ast
import configparser
import importlib
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

import ltrun
from ltrun import parts
from ltrun.config.bind import bind
from ltrun.parts import Part
from ltrun.taxonomy import DATASET_KEYS, GROUPS, SLOTS, STAGE_SLOTS
from tests.support.cases import CONF, METHODS, OPTIONS, composed

PACKAGE = Path(ltrun.__file__).parent
ROOT = CONF.parent
YAMLS = sorted(CONF.rglob("*.yaml"))
OPTION_FILES = [path for path in YAMLS if path.parent != CONF and path.parent.name not in ("local", "hydra")]
PACKAGES = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
FAMILIES = sorted({path.parent.name for path in OPTION_FILES} & PACKAGES)  # family = package = group
PART_FAMILIES = sorted({*SLOTS, "network"} & PACKAGES)  # whose members are parts or backbones
HOUSE = {"commands", "config", "recipe", "engine", "tasks", "results", "sweep", "report", "data"}  # packages that are no family
ROOM = 300  # lines: a file above holds two ideas
DOOR = {  # know of OmegaConf or Hydra
    "config/compose", "config/explain", "config/search_path", "sweep/combinations", "sweep/jobs", "sweep/launch",
    "commands/data", "commands/train",
}  # fmt: skip
FLOORS = [  # from the ground up; a module imports from its own floor's package and from the floors below
    {"types", "errors", "metrics", "taxonomy", "machine"},
    {"parts", "numerics", "results"},
    {"loss"},
    {"config", "data", "tasks", "report", *FAMILIES},
    {"recipe"},
    {"engine"},
    {"sweep"},
    {"commands"},
    {"cli"},
]


def name_of(path: Path) -> str:
    return str(path.relative_to(CONF))


def header(path: Path) -> list[str]:
    lines = path.read_text().splitlines()
    end = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return [line.removeprefix("#").strip() for line in lines[:end]]


def targets_in(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if "_target_" in node:
            yield node
        for value in node.values():
            yield from targets_in(value)
    elif isinstance(node, list):
        for value in node:
            yield from targets_in(value)


def all_targets() -> set[str]:
    return {node["_target_"] for path in YAMLS for node in targets_in(yaml.safe_load(path.read_text()))}


# ------------------------------------------------------------------------------------------------------------------ YAML


def test_every_slot_is_a_group_and_every_group_a_folder() -> None:
    assert set(GROUPS) == {path.parent.name for path in OPTION_FILES}
    assert set(STAGE_SLOTS) < set(SLOTS) < set(GROUPS)
    for slot in SLOTS:
        if slot not in ("resampling", "classifier"):  # there is always a sampler and a head
            assert "none" in OPTIONS[slot], f"{slot} cannot be left out"


def test_every_family_of_parts_is_a_group_and_a_slot() -> None:
    assert set(GROUPS) - {"decoupling", "method", "dataset"} == PACKAGES - HOUSE, "a group without a package, or the reverse"


@pytest.mark.parametrize("path", OPTION_FILES, ids=name_of)
def test_every_option_has_a_header(path: Path) -> None:
    lines = [line for line in header(path) if line and not line.startswith("@package")]
    assert lines, "no header"
    assert not lines[0][0].islower() and lines[0].endswith("."), f"not a sentence: {lines[0]}"
    assert len(lines[0]) < 128
    if path.stem != "none":
        assert len(lines) > 1, "no citation"
        cited = re.search(r"\b(1[89]|20)\d\d\b", lines[1]) or lines[1].lower().startswith("no ")
        assert cited, f"neither a citation with its year nor 'no ...': {lines[1]}"
        for number in re.findall(r"arXiv (\S+)", lines[1]):
            assert re.fullmatch(r"\d{4}\.\d{4,5}[,;:)]?", number), f"not an arXiv number: {number}"


@pytest.mark.parametrize("path", OPTION_FILES, ids=name_of)
def test_an_option_writes_below_its_own_group_only(path: Path) -> None:
    """Numbers of one slot in the file of another would survive when that slot is set to something else."""
    content, group = yaml.safe_load(path.read_text()) or {}, path.parent.name
    is_global = "@package _global_" in path.read_text().splitlines()[0]
    may = {"method": {"defaults"}, "decoupling": {"defaults", "plan", "stages"}}
    if group == "dataset":
        assert is_global and "dataset" in content
        assert set(content) <= {"defaults", "dataset", "epochs", "batch_size", "runtime", "evaluation"}
    elif group in may:
        assert is_global and set(content) <= may[group]
    else:
        assert not is_global and "defaults" not in content


@pytest.mark.parametrize("name", METHODS)
def test_a_method_file_holds_override_lines_only(name: str) -> None:
    path = CONF / "method" / f"{name}.yaml"
    lines, content = path.read_text().splitlines(), yaml.safe_load(path.read_text())
    assert lines[0] == "# @package _global_"
    assert set(content) == {"defaults"}
    for entry in content["defaults"]:
        (key, option) = next(iter(entry.items()))
        assert len(entry) == 1
        match = re.fullmatch(r"override /(\w+)", key)
        assert match and match[1] in GROUPS, f"not an override line: {key}"
        assert option in OPTIONS[match[1]], f"{match[1]} has no option {option}"


@pytest.mark.parametrize("name", METHODS)
def test_a_method_file_says_its_command_and_what_to_expect(name: str) -> None:
    said = header(CONF / "method" / f"{name}.yaml")
    commands = [line for line in said if line.startswith("command: ")]
    expected = [line for line in said if line.startswith("expected: ")]
    assert len(commands) == 1 and len(expected) == 1
    assert re.search(r"\d\d\.\d|nothing published", expected[0])
    program, *overrides = commands[0].removeprefix("command: ").split()
    assert program == "ltrun" and f"method={name}" in overrides
    for override in overrides:
        group, option = override.split("=")
        assert option in OPTIONS[group], f"the command names {override}, which there is not"


@pytest.mark.parametrize("dataset", OPTIONS["dataset"])
def test_every_data_set_composes_and_binds(dataset: str) -> None:
    from tests.support.cases import bound

    config, choices = composed(f"dataset={dataset}")
    assert config["dataset"]["name"] == dataset == choices["dataset"]
    bound((config, choices))
    prepare = config["dataset"]["prepare"]
    assert len(prepare["mean"]) == len(prepare["std"]) in (1, 3)


@pytest.mark.parametrize("path", YAMLS, ids=name_of)
def test_every_target_resolves_and_binds(path: Path) -> None:
    """Arguments that interpolate other keys are left to the tests that compose."""
    for node in targets_in(yaml.safe_load(path.read_text())):
        package, _, name = node["_target_"].rpartition(".")
        module = importlib.import_module(package)
        assert name in getattr(module, "__all__", [name]), f"{node['_target_']} is not public"
        assert package.count(".") == 1 or package == "ltrun.engine.update", f"{node['_target_']} is not named by its family"
        if package == "ltrun.data":
            node = {k: v for k, v in node.items() if k not in DATASET_KEYS}
        plain = {k: v for k, v in node.items() if not (isinstance(v, str) and "${" in v) and not list(targets_in(v))}
        nested = {k: v for k, v in node.items() if list(targets_in(v))}
        signature = inspect.signature(getattr(module, name)).parameters
        assert set(node) - {"_target_"} <= set(signature)
        if len(plain) + len(nested) == len(node) and "${" not in str(nested):
            bind(node, name_of(path))


def test_every_part_is_used_by_an_option_and_every_option_uses_a_part() -> None:
    """A class that no YAML names cannot be composed; a name in __all__ that does not exist is a lie."""
    offered = set()
    for family in [*PART_FAMILIES, "data"]:
        module = importlib.import_module(f"ltrun.{family}")
        for name in module.__all__:
            part = getattr(module, name)
            assert inspect.isclass(part)
            if issubclass(part, (Part, parts.Backbone)):
                offered.add(f"ltrun.{family}.{name}")
    # the network that fits where no option brings its own; the update is a role without a group so far
    named = all_targets() | {"ltrun.network.Plain"}
    assert offered - named == set(), "no option uses these"
    of_families = {t for t in named if t.split(".")[1] in set(PART_FAMILIES)}
    assert of_families - offered == set(), "these are not in the family's __all__"


def test_every_part_lies_in_the_family_that_exports_it() -> None:
    for family in PART_FAMILIES:
        module = importlib.import_module(f"ltrun.{family}")
        assert sorted(module.__all__, key=str.lower) == sorted(set(module.__all__), key=str.lower)
        for name in module.__all__:
            assert getattr(module, name).__module__.startswith(f"ltrun.{family}.")
        for info in (PACKAGE / family).glob("*.py"):
            inner = importlib.import_module(f"ltrun.{family}.{info.stem}" if info.stem != "__init__" else f"ltrun.{family}")
            for name, value in vars(inner).items():
                if inspect.isclass(value) and issubclass(value, Part) and value.__module__ == inner.__name__:
                    assert name in module.__all__, f"{family}/{info.name}: {name} is not exported"


# ------------------------------------------------------------------------------------------------------------ house style


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


# ----------------------------------------------------------------------------------------------------------- the house


def imports() -> dict[str, set[str]]:
    """Module of ltrun -> the modules of ltrun that it imports, wherever in the file and for whatever purpose."""
    named = {path: ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in PACKAGE.rglob("*.py")}
    modules = {path: name.removesuffix(".__init__") for path, name in named.items()}
    known = set(modules.values())
    found: dict[str, set[str]] = {}
    for path, module in modules.items():
        used: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                used |= {alias.name for alias in node.names} & known
            elif isinstance(node, ast.ImportFrom) and node.module in known:
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                used |= inner & known or {node.module}
        found[module] = used - {module}
    return found


def floor(module: str) -> int:
    _, _, rest = module.partition(".")
    room = rest.partition(".")[0]
    if room in ("", "__main__"):
        return -1 if room == "" else len(FLOORS)  # the version; the door of `python -m`
    return next(level for level, rooms in enumerate(FLOORS) if room in rooms)


def test_nothing_lies_at_the_root_but_what_the_house_names() -> None:
    rooms = set().union(*FLOORS)
    assert {path.stem for path in PACKAGE.glob("*.py")} <= rooms | {"__init__", "__main__"}
    assert rooms >= PACKAGES


def test_no_import_runs_upwards() -> None:
    found = [(module, used) for module, every in imports().items() for used in every if floor(used) > floor(module)]
    assert found == []


def test_no_imports_run_in_a_circle() -> None:
    graph = imports()
    while leaves := {module for module, used in graph.items() if not used}:
        graph = {module: used - leaves for module, used in graph.items() if module not in leaves}
    assert graph == {}, "these import each other, or what does"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_holds_one_idea(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= ROOM
    assert path.name == "__init__.py" or ast.get_docstring(ast.parse(text)), "a module begins by saying what it is"


def test_configuration_stops_at_the_door() -> None:
    knows = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.split(".")[0] in ("omegaconf", "hydra") for name in names):
                knows.add(str(path.relative_to(PACKAGE)).removesuffix(".py"))
    assert knows <= DOOR


def test_no_bare_except_and_no_kwargs() -> None:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ExceptHandler):
                assert node.type is not None, path
            if isinstance(node, ast.FunctionDef) and node.name == "__init__":
                assert node.args.kwarg is None, path


def test_the_guide_shows_the_files_as_they_are() -> None:
    """CONTRIBUTING.md leads through a method that is in the tree."""
    guide = (ROOT / "CONTRIBUTING.md").read_text()
    blocks = re.findall(r"^```(?:python|yaml)\n(.*?)^```", guide, re.DOTALL | re.MULTILINE)
    files = ["ltrun/logit_adjustment/cdt.py", "conf/logit_adjustment/cdt.yaml", "conf/method/cdt.yaml"]
    for file in files:
        assert file in guide and (ROOT / file).read_text() in blocks, file


# -------------------------------------------------------------------------------------------------------------- packaging


def test_the_package_list_is_the_tree() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    listed = set(setup["options"]["packages"].split())
    there = {".".join(path.parent.relative_to(PACKAGE.parent).parts) for path in PACKAGE.rglob("__init__.py")}
    assert listed == there | {"ltrun.conf"}
    assert (CONF / "__init__.py").read_text() == ""
    assert setup["options"]["package_dir"].split() == ["ltrun.conf", "=", "conf"]
    assert "**/*.yaml" in setup["options.package_data"]["ltrun.conf"]
    assert "py.typed" in setup["options.package_data"]["ltrun"] and (PACKAGE / "py.typed").exists()
    assert not list(CONF.rglob("*.yml")), "package data are **/*.yaml"


# ------------------------------------------------------------------------------------------------------------ lazy imports

HEAVY = {"torch", "torchvision", "sklearn"}


def loaded(*argv: str, cwd: Path) -> set[str]:
    """Top-level modules that a command leaves in sys.modules."""
    code = (
        "import sys; sys.argv = ['ltrun', *sys.argv[1:]]\n"
        "from ltrun.cli import dispatch\n"
        "code = dispatch(sys.argv[1:])\n"
        "print(code, ' '.join(sorted({name.split('.')[0] for name in sys.modules})), file=sys.stderr)"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LTRUN_")} | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, *argv], capture_output=True, text=True, check=True, cwd=cwd, env=environment
    )
    exit_code, *names = done.stderr.splitlines()[-1].split()
    assert exit_code == "0", done.stderr
    return set(names)


@pytest.mark.parametrize(
    ("argv", "avoids"),
    [
        (["--help"], HEAVY | {"hydra", "omegaconf", "pandas", "numpy", "rich"}),
        (["--version"], HEAVY | {"hydra", "omegaconf", "pandas", "numpy", "rich"}),
        (["methods"], HEAVY | {"hydra", "omegaconf", "pandas", "numpy"}),
        (["report", "{recorded}"], HEAVY | {"hydra", "omegaconf"}),
    ],
    ids=lambda value: "-".join(value)[:12] if isinstance(value, list) else "",
)
def test_quick_commands_import_nothing_heavy(argv: list[str], avoids: set[str], tmp_path: Path) -> None:
    if "{recorded}" in argv:
        _record().save(tmp_path / "outputs" / "digits_lt" / "erm" / "01234567" / "seed0")
        argv = ["report", str(tmp_path / "outputs")]
    assert loaded(*argv, cwd=tmp_path) & avoids == set()


def _record() -> Any:
    from ltrun.results.record import RunRecord

    metrics = {"accuracy": 0.5, "error": 0.5, "macro": 0.5, "many": 0.5, "medium": None, "few": 0.5, "ece": 0.1}
    split = metrics | {"per_class": [0.5, 0.5], "images": 4}
    return RunRecord(
        dataset="digits_lt",
        method="erm",
        changes={},
        choices={"margin": "none"},
        config={},
        seed=0,
        fingerprint="01234567",
        headline="plain",
        selection="last",
        predictors={"plain": {"sees": [], "splits": {"test": split}}},
        classes={"names": ["a", "b"], "counts": [9, 1]},
        stages=[{"name": "train", "epochs": 1, "seconds": 1.0}],
    )


def test_training_does_not_import_what_it_does_not_need(tmp_path: Path) -> None:
    """torchvision (downloads only), sklearn, pyarrow and PIL (decoding only) take seconds."""
    code = (
        "import sys, ltrun.engine.run, ltrun.engine.trainer, ltrun.data, ltrun.augmentation, ltrun.network\n"
        "print(sorted({'torchvision', 'sklearn', 'pyarrow', 'PIL', 'pandas'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "[]"


def test_torch_is_on_one_thread_here() -> None:
    """Two OpenMP threads collapse when a neighbour takes a core, and bit-equality is claimed for a fixed number."""
    assert torch.get_num_threads() == 1
