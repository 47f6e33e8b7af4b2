"""The tree of the repository: floors of imports, sizes of files, packaging, lazy imports."""

from __future__ import annotations

import ast
import configparser
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.cases import CONF
from tests.support.tree import FAMILIES, PACKAGE, PACKAGES, ROOT

ROOM = 300  # lines; a longer file holds two ideas
FILES = sorted(path for folder in ("ltrun", "tests", "benchmarks", "scripts") for path in (ROOT / folder).rglob("*.py"))
DOOR = {  # may import OmegaConf or Hydra
    "config/compose", "config/explain", "config/published", "config/recorded", "config/search_path", "config/words",
    "sweep/combinations", "sweep/jobs", "sweep/launch", "contracts/library", "commands/train",
}  # fmt: skip
FLOORS = [  # from the ground up; a module imports from its own floor's package and from the floors below
    {"types", "targets", "errors", "metrics", "taxonomy", "machine", "streams"},
    {"backbone", "cuts", "descent", "evidence"},
    {"parts", "numerics", "results", "statistics", "evaluation"},
    {"loss", "kernels"},
    {"config", "data", "tasks", "report", *FAMILIES},
    {"recipe"},
    {"engine"},
    {"sweep"},
    {"contracts"},
    {"commands"},
    {"cli"},
]


# ----------------------------------------------------------------------------------------------------------- the house


def imports() -> dict[str, set[str]]:
    """Module of ltrun -> the modules of ltrun that it imports, at the top, in functions, or for types."""
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


def test_the_root_of_the_package_holds_listed_modules_only() -> None:
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
    assert graph == {}, "these modules are in an import cycle, or import one"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_holds_one_idea(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= ROOM
    assert path.name == "__init__.py" or ast.get_docstring(ast.parse(text)), "a module begins with a docstring"


def test_few_modules_import_omegaconf_or_hydra() -> None:
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


def test_contributing_quotes_the_files_of_the_tree() -> None:
    """CONTRIBUTING.md explains a method of the tree, file by file."""
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
    assert listed == {*there, "ltrun.conf"}
    assert (CONF / "__init__.py").read_text() == ""
    assert (PACKAGE / "conf").resolve() == CONF.resolve(), "ltrun.conf is conf/, by a link"
    assert setup["options"]["package_dir"].split() == ["=", "."], "else an editable install is a finder behind any path"
    assert "**/*.yaml" in setup["options.package_data"]["ltrun.conf"]
    assert setup["options.package_data"]["ltrun.report"].split() == ["*.json", "*.md"]
    assert "py.typed" in setup["options.package_data"]["ltrun"] and (PACKAGE / "py.typed").exists()
    assert not list(CONF.rglob("*.yml")), "package data are **/*.yaml"


def made(target: str) -> list[str]:
    """Returns the commands of a target. Removes the flags of an outer make, which may run these tests."""
    command = ["make", "--dry-run", "--always-make", "--no-print-directory", target]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_make_run_installs_no_tools() -> None:
    """Its output is tested in tests/unit/scripts/test_make_venv.py."""
    assert not any("--tools" in line for line in made("run")) and any("make_venv.py" in line for line in made("run"))
    assert any("--tools" in line for line in made("lint"))


# ------------------------------------------------------------------------------------------------------------ lazy imports

HEAVY = {"torch", "torchvision", "sklearn"}


def loaded(*argv: str, cwd: Path) -> set[str]:
    """Returns the top-level modules in sys.modules after a command."""
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
        (["methods", "--markdown"], HEAVY | {"hydra", "omegaconf", "pandas", "numpy", "rich"}),
        (["show", "ldam"], HEAVY | {"hydra", "omegaconf", "pandas", "numpy", "rich"}),
        (["show", "{recorded}"], HEAVY | {"hydra", "omegaconf", "pandas"}),
        (["method=ldam", "--help"], HEAVY | {"hydra", "omegaconf", "pandas", "numpy", "rich"}),
        (["completion", "bash"], HEAVY | {"hydra", "omegaconf", "pandas", "numpy", "rich"}),
        (["completion", "words", "--", "margin=ld"], HEAVY | {"hydra", "omegaconf", "pandas", "numpy", "rich"}),
        (["report", "{recorded}"], HEAVY | {"hydra", "omegaconf"}),
        (["compare", "erm", "{recorded}"], HEAVY | {"hydra", "omegaconf", "PIL", "pandas"}),
        (["errors", "{recorded}"], HEAVY | {"hydra", "omegaconf", "PIL"}),
        (["status", "{recorded}"], HEAVY | {"hydra", "omegaconf", "pandas", "numpy", "rich"}),
    ],
    ids=lambda value: "-".join(value)[:12] if isinstance(value, list) else "",
)
def test_quick_commands_import_nothing_heavy(argv: list[str], avoids: set[str], tmp_path: Path) -> None:
    if "{recorded}" in argv:
        folder = tmp_path / "outputs" / "digits_lt" / "erm" / "01234567" / "seed0"
        _record().save(folder)
        np.savez(folder / "predictions.npz", test_labels=[0, 0, 1, 1], test_scores_plain=np.eye(2)[[0, 1, 1, 0]])
        argv = [str(tmp_path / "outputs") if word == "{recorded}" else word for word in argv]
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


def test_training_imports_no_download_or_image_library(tmp_path: Path) -> None:
    """torchvision (downloads only), sklearn, pyarrow and PIL (decoding only) take seconds."""
    code = (
        "import sys, ltrun.engine.run, ltrun.engine.trainer, ltrun.data, ltrun.augmentation, ltrun.network\n"
        "print(sorted({'torchvision', 'sklearn', 'pyarrow', 'PIL', 'pandas'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "[]"


def test_the_tests_run_torch_on_one_thread() -> None:
    """Two OpenMP threads collapse when a neighbour takes a core, and bit-equality is claimed for a fixed number."""
    assert torch.get_num_threads() == 1
