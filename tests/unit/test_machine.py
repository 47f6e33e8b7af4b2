"""What a process finds on its machine."""

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
    """As in a process that has made no socket yet."""
    monkeypatch.setattr(multiprocessing.current_process(), "_config", {})


@pytest.mark.usefixtures("sockets")
def test_sockets_lie_where_their_path_is_short_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("x" * 100)
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    monkeypatch.setattr("ltrun.machine.SHORT", ("/nonexistent", "/tmp"))
    shorten_sockets()
    assert Path(get_temp_dir()).parent == Path("/tmp") and tempfile.tempdir == str(long)


@pytest.mark.usefixtures("sockets")
def test_a_machine_without_room_for_a_socket_is_an_error_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/" + "x" * 100)
    monkeypatch.setattr("ltrun.machine.SHORT", ())
    with pytest.raises(OSError, match="TMPDIR has more than 71 bytes"):
        shorten_sockets()


def test_the_processor_has_a_name_where_the_system_tells_none_too(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*: (.+)$", told.read_text(), re.MULTILINE) if told.exists() else []
    assert provenance()["processor"] == processor() and processor() in (*names, platform.processor(), platform.machine())
    monkeypatch.setattr(Path, "read_text", lambda *_: "processor : 0\n")
    assert processor() == (platform.processor() or platform.machine()) != ""
