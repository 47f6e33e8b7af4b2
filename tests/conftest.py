"""Fixtures of all tests: reference values, real data, caches. Each test is marked by its folder."""

import atexit
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

os.environ["OMP_NUM_THREADS"] = (
    "1"  # before torch is imported: two threads are ten times slower if another process takes a core
)
for name in ("LTRUN_CACHE", "LTRUN_COMPOSED"):  # decoded images, composed configurations: the workers of a session share them
    if name not in os.environ:
        os.environ[name] = tempfile.mkdtemp(prefix="ltrun-tests-")
        atexit.register(shutil.rmtree, os.environ[name], ignore_errors=True)
pytest.register_assert_rewrite("tests.support")  # failures in its modules show the compared values
REPOSITORY = Path(__file__).parents[1]
KINDS = {
    "unit": "unit",
    "contracts": "contract",
    "golden": "golden",
    "end_to_end": "end_to_end",
    "docs": "docs",
}  # folder: marker
SHARED = Path(os.environ.get("LTRUN_SHARED", REPOSITORY.parent / "shared"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        folder = item.path.relative_to(Path(__file__).parent).parts[0]
        if folder not in KINDS:
            raise pytest.UsageError(f"{item.path} is in none of tests/{{{','.join(KINDS)}}}, whose names are markers: move it")
        item.add_marker(KINDS[folder])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    from tests.support.walks import ALL, DRAW  # after torch's number of threads is set

    terminalreporter.write_line("all cases" if ALL else f"the drawn cases are those of LTRUN_DRAW={DRAW}")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference values and real data: present in CI, absent on a user's machine."""
    if not SHARED.is_dir():
        pytest.skip(f"this machine has no {SHARED}, the folder of reference values and real CIFAR-100")
    return SHARED


@pytest.fixture(scope="session")
def cache() -> Path:
    """The folder of decoded images, shared by the tests of a session."""
    return Path(os.environ["LTRUN_CACHE"])


@pytest.fixture(scope="session")
def golden(shared: Path) -> Callable[[str], dict[str, Any]]:
    """golden("ldam"): a method's definition, inputs and cases, computed with the original authors' code."""
    return lambda name: json.loads((shared / "golden" / f"{name}.json").read_text())


@pytest.fixture(scope="session")
def cifar100_root(shared: Path) -> Path:
    """A dataset.root whose parquet files hold all of CIFAR-100."""
    return shared / "data" / "cifar100"


@pytest.fixture(scope="session")
def shared_lists(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of real lists of large data sets, and of `tiny_imagenet_lt`, 2,048 real photographs of 64 x 64 pixels."""
    folder = tmp_path_factory.mktemp("lists")
    with tarfile.open(shared / "data" / "lists.tar.xz") as tar:
        tar.extractall(folder, filter="data")
    return folder / "lists"
