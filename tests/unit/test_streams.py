"""Standard output that is closed, full, or cannot encode a character, and the detection of a live terminal."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ltrun import streams
from ltrun.streams import PLAIN, Outlet


def failing(code: int, calls: list[bytes]) -> Callable[[int, bytes], int]:
    def write(descriptor: int, data: bytes) -> int:
        calls.append(bytes(data))
        raise OSError(code, os.strerror(code))

    return write


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_every_character_can_be_written_in_every_encoding(encoding: str) -> None:
    said = "38.3 ± 0.4 – ldam · tau_norm † 猫 \udcff"
    assert b"38.3" in said.encode(encoding, PLAIN) and said.encode(encoding, PLAIN).endswith(b"\xff")
    assert "38.3 ± 0.4 – a · b †".encode("ascii", PLAIN) == b"38.3 +/- 0.4 - a . b *"


@pytest.mark.parametrize(("code", "tries"), [(errno.EPIPE, 1), (errno.EIO, 1), (errno.ENOSPC, 2)])
def test_unwritable_output_is_dropped_and_only_a_full_disk_is_tried_again(
    code: int, tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[bytes] = []
    outlet = Outlet(1)
    monkeypatch.setattr(os, "write", failing(code, calls))
    assert [outlet.write(b"one"), outlet.write(b"two")] == [3, 3]
    assert len(calls) == tries and outlet.error is not None and outlet.error.errno == code


def test_a_long_command_warns_once_that_its_output_is_lost(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outlet = Outlet(1)
    outlet.lasting = True
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", failing(errno.ENOSPC, []))
        outlet.write(b"one")
        outlet.write(b"two")
    assert capsys.readouterr().err.count("(No space left on device); the work continues") == 1


def test_a_full_non_blocking_pipe_is_waited_for() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with os.fdopen(reader, "rb") as source:
        import threading

        wanted = os.urandom(200_000)
        found: list[bytes] = []
        thread = threading.Thread(target=lambda: found.append(source.read(len(wanted))))
        thread.start()
        assert Outlet(writer).write(wanted) == len(wanted)
        os.close(writer)
        thread.join()
    assert found == [wanted]


@pytest.mark.parametrize("columns", ["0", "1", "-3", "many", ""])
def test_an_unusable_width_of_the_terminal_is_ignored(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert streams.console().width >= 80


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environment", "live"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, True),
        ({"TERM": "dumb"}, False),
        ({"TERM": "dumb", "FORCE_COLOR": "1"}, False),
        ({"TERM": ""}, False),
        ({}, False),
        ({"TERM": "xterm", "CI": "true"}, False),
        ({"TERM": "xterm", "TTY_INTERACTIVE": "0"}, False),
    ],
    ids=str,
)
def test_lines_are_redrawn_only_on_an_interactive_terminal(
    environment: dict[str, str], live: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TERM", "NO_COLOR", "FORCE_COLOR", "CI", "TTY_INTERACTIVE", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stdout", Terminal())
    assert streams.is_live(streams.console()) is live


def test_a_file_with_forced_colours_is_not_live(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    with (tmp_path / "log").open("w") as file:
        monkeypatch.setattr("sys.stdout", file)
        console = streams.console()
        assert console.is_terminal and not streams.is_live(console)
