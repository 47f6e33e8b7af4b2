"""Fixtures of the data tests: a cache of decoded images for one test, and an image folder with two classes."""

from pathlib import Path

import pytest

from tests.support.data_fakes import class_folders


@pytest.fixture
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LTRUN_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    class_folders(tmp_path / "photos" / "train", {"ant": 4, "bee": 4}, size=8)
    class_folders(tmp_path / "photos" / "test", {"ant": 2, "bee": 2}, size=8, seed=50)
    return tmp_path / "photos"
