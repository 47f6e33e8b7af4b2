"""Folders for sockets, and the name of the processor."""

from __future__ import annotations

import multiprocessing
import platform
import re
import tempfile
from multiprocessing.util import get_temp_dir
from pathlib import Path

import pytest

from ltrun.machine import processor, shorten_sockets
from ltrun.results.provenance import provenance


@pytest.fixture
def sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes multiprocessing forget its folder for sockets, as in a process that has made no socket yet."""
    monkeypatch.setattr(multiprocessing.current_process(), "_config", {})


@pytest.mark.usefixtures("sockets")
def test_sockets_are_made_in_a_folder_with_a_short_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("x" * 100)
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    monkeypatch.setattr("ltrun.machine.SHORT", ("/nonexistent", "/tmp"))
    shorten_sockets()
    assert Path(get_temp_dir()).parent == Path("/tmp") and tempfile.tempdir == str(long)


@pytest.mark.usefixtures("sockets")
def test_a_machine_without_a_folder_of_a_short_path_raises_oserror(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/" + "x" * 100)
    monkeypatch.setattr("ltrun.machine.SHORT", ())
    with pytest.raises(OSError, match="TMPDIR has more than 71 bytes"):
        shorten_sockets()


def test_the_processor_has_a_name_even_if_the_system_does_not_know_its_model(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*: (.+)$", told.read_text(), re.MULTILINE) if told.exists() else []
    assert provenance()["processor"] == processor() and processor() in (*names, platform.processor(), platform.machine())
    monkeypatch.setattr(Path, "read_text", lambda *_: "processor : 0\n")
    assert processor() == (platform.processor() or platform.machine()) != ""
