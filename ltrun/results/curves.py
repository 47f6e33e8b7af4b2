"""TensorBoard curves of a run, drawn from the lines of metrics.jsonl."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from socket import gethostname
from typing import Any

from ltrun.errors import ConfigError

log = logging.getLogger(__name__)


class Curves:
    """A folder with the curves of one run. If the folder cannot be written to, warns once and draws no more.

    TensorBoard's own writer works in a thread, whose errors go unnoticed.
    """

    def __init__(self, folder: Path) -> None:
        """Raises ConfigError if TensorBoard is not installed."""
        try:
            from tensorboard.compat.proto.event_pb2 import Event
            from tensorboard.compat.proto.summary_pb2 import Summary
            from tensorboard.summary.writer.record_writer import RecordWriter
        except ImportError:
            raise ConfigError("runtime.tensorboard=true needs TensorBoard: pip install 'ltrun[tensorboard]'") from None
        self.folder, self.event, self.summary, self.writer = folder, Event, Summary, RecordWriter
        self.file: Path | None = None

    def begin(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Deletes old curves and draws the given epochs, after which the run resumes, so that no epoch is drawn twice."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for old in self.folder.glob("events.out.tfevents.*"):
                old.unlink(missing_ok=True)
            self.file = self.folder / f"events.out.tfevents.{int(time.time())}.{gethostname()}"
        except OSError as error:
            self._give_up(error)
        self._write(self.event(wall_time=time.time(), file_version="brain.Event:2"))
        for row in rows:
            self.draw(row)

    def draw(self, row: Mapping[str, Any]) -> None:
        """Draws a point on each curve for one epoch."""
        values = {name: row.get(name) for name in ("loss", "learning_rate")}
        for split, metrics in row.get("evaluation", {}).items():
            values |= {f"{split}/{name}": value for name, value in metrics.items()}
        points = {f"{row['stage']}/{name}": value for name, value in values.items() if value is not None}
        summary = self.summary(value=[self.summary.Value(tag=tag, simple_value=value) for tag, value in points.items()])
        self._write(self.event(wall_time=row.get("time", time.time()), step=row["epoch"], summary=summary))

    def _write(self, event: Any) -> None:
        if self.file is not None:
            try:
                with self.file.open("ab") as file:
                    self.writer(file).write(event.SerializeToString())
            except OSError as error:
                self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self.file = None
        log.warning(
            f"TensorBoard's curves cannot be written to {self.folder} ({error.strerror}); the run goes on, and metrics.jsonl "
            "holds its numbers"
        )
