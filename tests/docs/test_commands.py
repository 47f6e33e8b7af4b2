"""Commands of the documents: each runs, unless it needs a GPU, a network or a cluster, and prints the output of its page."""

from pathlib import Path

import pytest

from tests.support.documents import Page, pages
from tests.support.readers import environment, furnish
from tests.support.sessions import Session, commands, is_slow

WITH_COMMANDS = [page for page in pages() if any(commands(fence) or fence.file for fence in page.fences())]


@pytest.mark.parametrize(
    "page", [pytest.param(page, id=page.name, marks=[pytest.mark.slow] * is_slow(page)) for page in WITH_COMMANDS]
)
def test_every_command_runs(page: Page, tmp_path: Path, data: Path, finished: Path, capfd: pytest.CaptureFixture[str]) -> None:
    furnish(tmp_path, data, finished)
    faults = Session(tmp_path / "work", environment(tmp_path), capfd).faults(page)
    assert not faults, "\n\n".join([f"{len(faults)} commands", *faults])
