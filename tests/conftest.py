"""Fixtures shared by all tests: reference values, real data, one thread. Markers by folder."""

import atexit
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: two threads collapse tenfold when a neighbour takes a core
for name in ("LTRUN_CACHE", "LTRUN_COMPOSED"):  # decoded images, configurations: shared by the workers of a session
    if name not in os.environ:
        os.environ[name] = tempfile.mkdtemp(prefix="ltrun-tests-")
        atexit.register(shutil.rmtree, os.environ[name], ignore_errors=True)
pytest.register_assert_rewrite("tests.support")  # their assertions say what they compared
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


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference values and real data, which CI has and a user has not."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not on this machine: reference values and real CIFAR-100 lie there")
    return SHARED


@pytest.fixture(scope="session")
def cache() -> Path:
    """The folder of decoded images that the tests of a session share."""
    return Path(os.environ["LTRUN_CACHE"])


@pytest.fixture(scope="session")
def golden(shared: Path) -> Callable[[str], dict[str, Any]]:
    """golden("ldam"): definition, inputs and cases of one method, computed by the original authors' code."""
    return lambda name: json.loads((shared / "golden" / f"{name}.json").read_text())


@pytest.fixture(scope="session")
def cifar100_root(shared: Path) -> Path:
    """A dataset.root whose parquet files hold all of CIFAR-100."""
    return shared / "data" / "cifar100"
