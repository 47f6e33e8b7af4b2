"""Standard output and error that survive a character they cannot encode, a closed pipe or terminal, and a full disk."""

from __future__ import annotations

import codecs
import errno
import io
import os
import select
import signal
import sys
import threading
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console

PLAIN = "ltrun.plain"  # error handler for characters that an encoding lacks
SIGNS = {"–": "-", "—": "-", "−": "-", "±": "+/-", "·": ".", "†": "*", "×": "x", "…": "...", "→": "->", "█": "#", "▏": "|"}
GONE = {errno.EPIPE, errno.EIO, errno.EBADF, errno.ENXIO, errno.ECONNRESET}  # errors after which nobody will read the stream
LEAST_WIDTH = 20  # columns; some CI sets a smaller COLUMNS, which is not the width of a screen


class Outlet(io.RawIOBase):
    """A raw stream on a file descriptor that drops data it cannot write, instead of raising.

    error: the last failure. Each write is tried, because a disk may have room again, unless the reader is gone.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.error: OSError | None = None
        self.lasting = False  # whether the first failure is reported at once, because the work takes long

    def write(self, data: object) -> int:
        rest = memoryview(data).cast("B")  # type: ignore[arg-type]
        length = len(rest)
        while rest and not self.gone:
            try:
                rest = rest[os.write(self.descriptor, rest) :]
            except BlockingIOError:  # another process that shares the pipe made it non-blocking
                select.select([], [self.descriptor], [])
            except OSError as error:
                self._lose(error)
                break
        return length

    def _lose(self, error: OSError) -> None:
        first, self.error = self.error is None, error
        if first and self.lasting:
            print(f"ltrun: standard output cannot be written to ({error.strerror}); the work continues", file=sys.stderr)

    @property
    def gone(self) -> bool:
        return self.error is not None and self.error.errno in GONE

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return os.isatty(self.descriptor)

    def fileno(self) -> int:
        return self.descriptor


def guard() -> None:
    """Makes this process print through outlets. Leaves a stream alone that other code has already replaced."""
    for descriptor in range(3):  # else the next file opened would become standard output
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is sys.__stdout__:
        sys.stdout = _through_outlet(sys.stdout, 1)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _through_outlet(sys.stderr, 2)


def _through_outlet(stream: TextIO | None, descriptor: int) -> TextIO:
    """Returns a text stream of the same encoding. stream: None if the descriptor was closed when Python started."""
    outlet = Outlet(descriptor if stream is None else stream.fileno())
    encoding = "utf-8" if stream is None else stream.encoding
    return io.TextIOWrapper(io.BufferedWriter(outlet), encoding, PLAIN, line_buffering=True)  # a log is read while it grows


def _outlet(stream: TextIO) -> Outlet | None:
    """Returns the outlet of a stream that `guard` made, else None."""
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    return raw if isinstance(raw, Outlet) else None


def mute() -> None:
    """Drops what this process prints, because another one speaks for all."""
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123  for the rest of the process


def speak() -> None:
    """Lets a process that `mute` silenced print errors again."""
    if sys.stderr.name == os.devnull:
        sys.stderr = sys.__stderr__


def show_cursor() -> None:
    """Shows the cursor of the terminal again, which a live bar hides, before a process that cannot stop its bar ends."""
    if os.isatty(1):
        os.write(1, b"\x1b[?25h")


def outlive() -> None:
    """Lets the work outlive its output: from here on a closed terminal does not end it, and a failed write is told at once."""
    main = threading.current_thread() is threading.main_thread()  # no other thread can set a signal handler
    if main and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if outlet := _outlet(sys.stdout):
        outlet.lasting = True


def concluded(code: int) -> int:
    """Returns the exit code of a command: 1 instead of 0 if its only result was standard output, and a write failed.

    A reader that stopped reading, such as `head`, is no failure.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    outlet = _outlet(sys.stdout)
    if outlet is None or outlet.error is None or outlet.gone or outlet.lasting:
        return code
    print(f"ltrun: standard output cannot be written to ({outlet.error.strerror})", file=sys.stderr)
    return code or 1


def console() -> Console:
    """Returns a rich console on standard output, 80 columns wide if COLUMNS is below LEAST_WIDTH."""
    from rich.console import Console

    made = Console(highlight=False)
    return made if made.width >= LEAST_WIDTH else Console(highlight=False, width=80)


def is_live(console: Console) -> bool:
    """Whether lines on the console can be redrawn: it is an interactive terminal that can move its cursor.

    FORCE_COLOR asks for colours, not for a terminal; the log of a CI job would keep every redrawn line.
    """
    capable = os.environ.get("TERM", "dumb") not in ("", "dumb", "unknown") and not os.environ.get("CI")
    return console.is_interactive and console.file.isatty() and capable


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    """Encodes a character that the encoding lacks in ASCII; keeps undecodable bytes of a file name as they are."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    sign = error.object[error.start]
    if "\udc80" <= sign <= "\udcff":
        return bytes([ord(sign) - 0xDC00]), error.start + 1
    return SIGNS.get(sign, "?"), error.start + 1


codecs.register_error(PLAIN, _plain)
