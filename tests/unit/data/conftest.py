"""A cache of decoded images of a test's own."""

import pytest


@pytest.fixture
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LTRUN_CACHE", str(tmp_path_factory.mktemp("cache")))
