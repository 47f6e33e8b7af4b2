"""Fixtures of the tests of documents: finished runs, CIFAR data sets, a cache of fonts."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.commands import PROGRAM, environment
from tests.support.documents import REPOSITORY
from tests.support.readers import cifar


@pytest.fixture(scope="session")
def finished() -> Iterator[Path]:
    """A folder with the results of the sweep of `make run`, trained for one epoch."""
    sweep = re.search(r"ltrun (-m .*digits_lt)$", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    assert sweep, "`make run` trains a sweep on digits"
    folder = Path(tempfile.mkdtemp(prefix="ltrun-tests-"))
    words = [*PROGRAM, *sweep[1].split(), "epochs=1"]
    subprocess.run(words, cwd=folder, env=environment(), check=True, capture_output=True)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """cifar100/ and cifar10/, with as many images as an imbalance of 100 needs."""
    root = tmp_path_factory.mktemp("data")
    cifar(root / "cifar100", 100, "fine_label")
    cifar(root / "cifar10", 10, "label")
    return root


@pytest.fixture(scope="session", autouse=True)
def _fonts(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Matplotlib caches its list of fonts once, not in the home of each reader."""
    os.environ.setdefault("MPLCONFIGDIR", str(tmp_path_factory.mktemp("fonts")))
