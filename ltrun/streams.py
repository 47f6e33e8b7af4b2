"""Standard output and standard error that outlive their encoding, their reader, their terminal and a full disk."""

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

PLAIN = "ltrun.plain"  # how to write a sign that an encoding lacks
SIGNS = {"–": "-", "—": "-", "−": "-", "±": "+/-", "·": ".", "†": "*", "×": "x", "…": "...", "→": "->", "█": "#", "▏": "|"}
GONE = {errno.EPIPE, errno.EIO, errno.EBADF, errno.ENXIO, errno.ECONNRESET}  # nobody will ever read there again
LEAST_WIDTH = 20  # columns: a smaller COLUMNS, as some CI sets it, is no width of a screen


class Outlet(io.RawIOBase):
    """Writes to a file descriptor; what cannot be written is lost, and the writer goes on.

    error: the first failure. A disk may have room again, so each write is tried, unless the reader is gone.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.error: OSError | None = None
        self.lasting = False  # whether a failure is told at once, because the work goes on for long

    def write(self, data: object) -> int:
        rest = memoryview(data).cast("B")  # type: ignore[arg-type]
        length = len(rest)
        while rest and not self.gone:
            try:
                rest = rest[os.write(self.descriptor, rest) :]
            except BlockingIOError:  # whoever shares the pipe has made it non-blocking
                select.select([], [self.descriptor], [])
            except OSError as error:
                self._lose(error)
                break
        return length

    def _lose(self, error: OSError) -> None:
        first, self.error = self.error is None, error
        if first and self.lasting:
            print(f"ltrun: standard output takes nothing more ({error.strerror}); the work goes on", file=sys.stderr)

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
    """Has this process print through outlets. A stream that somebody has put in place of the process's own is left alone."""
    for descriptor in range(3):  # else the next file to be opened would become standard output
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is sys.__stdout__:
        sys.stdout = _through_outlet(sys.stdout, 1)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _through_outlet(sys.stderr, 2)


def _through_outlet(stream: TextIO | None, descriptor: int) -> TextIO:
    """A text stream of the same encoding; `stream` is None where the descriptor was closed when Python began."""
    outlet = Outlet(descriptor if stream is None else stream.fileno())
    encoding = "utf-8" if stream is None else stream.encoding
    return io.TextIOWrapper(io.BufferedWriter(outlet), encoding, PLAIN, line_buffering=True)  # a log is read while it grows


def _outlet(stream: TextIO) -> Outlet | None:
    """Where a stream ends, if `guard` has made it."""
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    return raw if isinstance(raw, Outlet) else None


def outlive() -> None:
    """From here on the work outlives its output: a closed terminal does not end it, and a failure is told when it happens."""
    main = threading.current_thread() is threading.main_thread()  # only there can a signal be given a handler
    if main and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if outlet := _outlet(sys.stdout):
        outlet.lasting = True


def concluded(code: int) -> int:
    """The exit code of a command: 1 where standard output was all that it made, and was lost, though somebody was reading."""
    sys.stdout.flush()
    sys.stderr.flush()
    outlet = _outlet(sys.stdout)
    if outlet is None or outlet.error is None or outlet.gone or outlet.lasting:
        return code
    print(f"ltrun: standard output cannot be written to ({outlet.error.strerror})", file=sys.stderr)
    return code or 1


def console() -> Console:
    """A rich console on standard output, of a width in which words can be read."""
    from rich.console import Console

    made = Console(highlight=False)
    return made if made.width >= LEAST_WIDTH else Console(highlight=False, width=80)


def is_live(console: Console) -> bool:
    """Whether lines on the console can be redrawn: on a terminal that moves its cursor and that somebody looks at.

    FORCE_COLOR asks for colours, not for a terminal, and CI keeps every redrawn line in its log.
    """
    capable = os.environ.get("TERM", "dumb") not in ("", "dumb", "unknown") and not os.environ.get("CI")
    return console.is_interactive and console.file.isatty() and capable


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    """Signs that an encoding lacks, in ASCII; bytes of a name that is no text, as they are."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    sign = error.object[error.start]
    if "\udc80" <= sign <= "\udcff":
        return bytes([ord(sign) - 0xDC00]), error.start + 1
    return SIGNS.get(sign, "?"), error.start + 1


codecs.register_error(PLAIN, _plain)
