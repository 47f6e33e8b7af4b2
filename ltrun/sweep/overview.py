"""Display of a sweep that trains several jobs at once."""

from __future__ import annotations

import time
from pathlib import Path

from rich.progress import Progress, TaskID

from ltrun import streams
from ltrun.config.job import Job
from ltrun.engine.course import Pace, duration
from ltrun.engine.progress import Line, say, warn
from ltrun.sweep.messages import Advanced, Cautioned, Finished, Logged, Shown


class Overview:
    """Prints a line for each job that ends; shows running jobs as bars on a terminal, and elsewhere as a line now and then.

    total: number of jobs of the sweep. ended: number of them that had ended before.
    """

    def __init__(self, total: int, ended: int) -> None:
        self.total, self.ended = total, ended
        self.console = streams.console()
        self.live: Progress | None = None
        self.results: dict[Path, str] = {}
        self.tasks: dict[Path, TaskID] = {}
        self.paces: dict[Path, Pace] = {}
        self.logged: set[str] = set()

    def __enter__(self) -> Overview:
        if streams.is_live(self.console):
            self.live = Progress(Line(), console=self.console)
            self.all = self.live.add_task("all jobs", total=self.total, completed=self.ended)
            self.live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.live is not None:
            self.live.stop()
            self.live = None

    def begin(self, job: Job) -> None:
        self.paces[job.folder] = Pace(time.monotonic())
        if self.live is not None:
            self.tasks[job.folder] = self.live.add_task(job.title, total=None)

    def show(self, job: Job, message: Shown) -> None:
        match message:
            case Cautioned(sentence):
                warn(self.console, f"{job.title}: {sentence}")
            case Logged(text) if text not in self.logged:  # facts about the machine, which each job logs
                self.logged.add(text)
                say(self.console, f"{job.title}: {text}")
            case Finished(text):
                self.results[job.folder] = text
            case Advanced(done, total, left, text):
                if self.live is not None:
                    self.live.update(self.tasks[job.folder], completed=done, total=total, left=left)
                elif self.paces[job.folder].due(time.monotonic()):
                    say(self.console, f"{job.title} | {text} | {duration(left)} left")

    def end(self, job: Job, done: bool) -> None:
        """Prints nothing for a failed job: `note` reports failures."""
        self.ended += 1
        del self.paces[job.folder]
        if self.live is not None:
            self.live.update(self.all, completed=self.ended)
            self.live.remove_task(self.tasks.pop(job.folder))
        if done:
            say(self.console, f"{self.ended}/{self.total} {job.title} | {self.results.pop(job.folder, '')}")
