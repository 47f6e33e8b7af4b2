"""Fixture of the tests of results: a record in its file."""

from pathlib import Path

import pytest

from tests.support.recorded import record


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return record(predictors={"plain": [], "tta": ["test_inputs"]}, splits=("test", "val")).save(tmp_path / "run")
