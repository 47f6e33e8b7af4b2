"""The wheel: its files and metadata, the same wheel from an sdist, and its types in another project."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
from importlib import metadata
from pathlib import Path
from shutil import copy, copytree, ignore_patterns
from zipfile import Path as Member
from zipfile import ZipFile

import pytest
from make_dist import differences, expected, faults

from tests.support.tree import ROOT

pytestmark = pytest.mark.slow
BUILD = "import sys; from setuptools import build_meta as backend; print(getattr(backend, 'build_' + sys.argv[1])(sys.argv[2]))"


def build(kind: str, tree: Path, into: Path) -> Path:
    """Builds a wheel or an sdist of a tree with the backend alone, which needs no network."""
    into.mkdir(exist_ok=True)
    done = subprocess.run([sys.executable, "-c", BUILD, kind, into], cwd=tree, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return into / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with tests, results, benchmarks and the user's own settings, which belong in no wheel."""
    tree = tmp_path_factory.mktemp("checkout")
    for name in ("ltrun", "conf"):
        copytree(ROOT / name, tree / name, symlinks=True, ignore=ignore_patterns("__pycache__", "local"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        copy(ROOT / name, tree)
    for name in ("tests/test_it.py", "outputs/digits_lt/result.json", "benchmarks/step.py", "conf/local/default.yaml"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text("")
    return tree


@pytest.fixture(scope="module")
def wheel(tree: Path) -> Path:
    return build("wheel", tree, tree / "dist")


def test_a_wheel_holds_every_file_of_the_package_and_of_conf_and_no_other(tree: Path, wheel: Path) -> None:
    files = expected(tree)
    assert {"ltrun/py.typed", "ltrun/cli.py", "ltrun/conf/config.yaml", "ltrun/conf/margin/ldam.yaml"} <= files
    assert not any("local" in name or "__pycache__" in name for name in files)
    assert faults(wheel, files) == []


def test_a_file_that_is_missing_or_leaks_is_named(tree: Path, wheel: Path) -> None:
    files = expected(tree)
    (missing,) = faults(wheel, files | {"ltrun/new.json"})
    assert missing.startswith(f"{wheel.name} lacks ltrun/new.json: ")
    (leaks,) = faults(wheel, files - {"ltrun/cli.py"})
    assert leaks.startswith(f"{wheel.name} holds ltrun/cli.py")


def test_a_file_that_git_does_not_have_is_no_file_of_the_package(tmp_path: Path) -> None:
    for name in ("ltrun/cli.py", "conf/margin/none.yaml", "ltrun/notes.py", "conf/margin/mine.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert len(expected(tmp_path)) == 4, "without git every file counts"
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run(["git", "add", "ltrun/cli.py", "conf/margin/none.yaml"], cwd=tmp_path, check=True)
    assert expected(tmp_path) == {"ltrun/cli.py", "ltrun/conf/margin/none.yaml"}


def test_an_sdist_builds_the_same_wheel(tree: Path, wheel: Path, tmp_path: Path) -> None:
    sdist = build("sdist", tree, tree / "dist")
    with tarfile.open(sdist) as opened:
        opened.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    assert not (unpacked / "ltrun" / "conf").is_symlink() and not list(unpacked.rglob("local"))
    again = build("wheel", unpacked, tmp_path / "again")
    assert differences(wheel, again) == []
    with ZipFile(again, "a") as opened:
        opened.writestr("ltrun/added.py", "")
    assert differences(wheel, again) == ["ltrun/added.py"]


def test_a_package_index_shows_keywords_and_the_readme(wheel: Path) -> None:
    (info,) = (member for member in Member(wheel).iterdir() if member.name.endswith(".dist-info"))
    shown = metadata.PathDistribution(info).metadata
    assert (shown["Name"], shown["Requires-Python"]) == ("ltrun", "<3.14,>=3.11")
    assert "long-tailed recognition" in shown["Keywords"] and "Typing :: Typed" in (shown.get_all("Classifier") or [])
    assert shown.json["description"] == (ROOT / "README.md").read_text(encoding="utf-8")


STRANGER = """\
from ltrun.errors import ConfigError
from ltrun.metrics import Metric

reveal_type(ConfigError.certain)
def title(metric: Metric) -> int:
    return metric.title
"""


def test_mypy_sees_the_types_of_an_installed_wheel_from_another_project(wheel: Path, tmp_path: Path) -> None:
    """Without py.typed mypy says 'missing library stubs or py.typed marker', and every type is Any."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    (packages,) = tmp_path.glob("venv/lib/python3.*/site-packages")
    with ZipFile(wheel) as opened:
        opened.extractall(packages)
    (project := tmp_path / "project").mkdir()
    (project / "mine.py").write_text(STRANGER)
    python = tmp_path / "venv" / "bin" / "python"
    mypy = [sys.executable, "-m", "mypy", f"--cache-dir={tmp_path / 'cache'}", f"--python-executable={python}"]
    done = subprocess.run([*mypy, "mine.py"], cwd=project, capture_output=True, text=True)
    assert re.search(r'Revealed type is "(builtins\.)?bool"', done.stdout), done.stdout
    assert 'got "str", expected "int"' in done.stdout
    (packages / "ltrun" / "py.typed").unlink()
    done = subprocess.run([*mypy, "mine.py"], cwd=project, capture_output=True, text=True)
    assert "py.typed marker" in done.stdout
