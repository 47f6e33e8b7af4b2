"""The processes that train the jobs of a sweep."""

from __future__ import annotations

import logging
import signal
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess

from ltrun.config.compose import Job
from ltrun.machine import end, end_with_parent
from ltrun.sweep.outcome import Outcome, attempt
from ltrun.sweep.overview import Overview, Relay
from ltrun.sweep.server import CONTEXT, start_server


@dataclass
class Worker:
    """A process that trains jobs. jobs: those it has not ended yet, by folder. open: whether it may be given more."""

    process: ForkServerProcess
    channel: Connection
    jobs: dict[str, Job] = field(default_factory=dict)
    open: bool = True

    def close(self) -> None:
        """Ends the process after the jobs that it has."""
        if self.open:
            self.open = False
            with suppress(OSError):  # it is dead
                self.channel.send(None)


class Pool:
    """Trains `size` jobs at once, `lanes` of them in a single-threaded process. Leaving it stops those that run."""

    def __init__(self, size: int, lanes: int, overview: Overview, note: Callable[[Outcome], None]):
        self.size, self.lanes, self.overview, self.note = size, lanes, overview, note
        self.waiting: deque[Job] = deque()
        self.running: list[Worker] = []

    def __enter__(self) -> Pool:
        start_server()
        self.overview.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        for worker in self.running:
            worker.process.terminate()
        self.overview.__exit__()
        for worker in self.running:
            worker.process.join()

    def add(self, job: Job) -> None:
        """Starts a job or keeps it for later; waits only where as many are kept already as may run at once."""
        self.waiting.append(job)
        self._poll(block=False)
        while len(self.waiting) > self.size:
            self._poll(block=True)

    def finish(self) -> None:
        while self.waiting or self.running:
            if not self.waiting:
                for worker in self.running:
                    worker.close()
            self._poll(block=True)

    def _poll(self, block: bool) -> None:
        """Hears what the processes have to say, then fills the places of jobs that have ended."""
        if self._fill():
            block = False
        channels = {worker.channel: worker for worker in self.running}
        for channel in connection.wait(list(channels), None if block else 0):
            self._receive(channels[channel])  # type: ignore[index]
        self._fill()

    def _fill(self) -> bool:
        """Whether a job was started."""
        places = self.size - sum(len(worker.jobs) for worker in self.running)
        starting = [self.waiting.popleft() for _ in range(min(places, len(self.waiting)))]
        for job in starting:
            free = (worker for worker in self.running if worker.open and len(worker.jobs) < self.lanes)
            worker = next(free, None) or self._start()
            worker.jobs[str(job.folder)] = job
            self.overview.begin(job.title)
            with suppress(OSError):  # it has just died, which is heard next
                worker.channel.send(job)
            if self.lanes == 1:
                worker.close()
        return bool(starting)

    def _start(self) -> Worker:
        ours, theirs = CONTEXT.Pipe()
        process = CONTEXT.Process(target=_work, args=(theirs, self.size))
        process.start()
        theirs.close()  # the end of the channel is now the end of the process
        self.running.append(Worker(process, ours))
        return self.running[-1]

    def _receive(self, worker: Worker) -> None:
        try:
            kind, folder, *words = worker.channel.recv()
        except (EOFError, OSError):
            self._reap(worker)
            return
        if kind != "end":
            getattr(self.overview, kind)(worker.jobs[folder].title, *words)
            return
        self._end(worker.jobs.pop(folder), *words)
        if words[0] is not None:
            worker.close()  # what a defect has left of a device's memory, or of a library, is not for other jobs

    def _reap(self, worker: Worker) -> None:
        worker.process.join()
        worker.channel.close()
        self.running.remove(worker)
        for job in worker.jobs.values():
            self._end(job, _cause_of_death(worker.process.exitcode))

    def _end(self, job: Job, failure: str | None) -> None:
        self.overview.end(job.title, failure)
        self.note(Outcome(job.title, str(job.folder), failure))


def _cause_of_death(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name if -code in list(signal.Signals) else f"signal {-code}"
        reason = f"its process was ended by {name}" + (", as when memory runs out" if name == "SIGKILL" else "")
    else:
        reason = f"its process ended with exit code {code}"
    return f"{reason}; the same command goes on from its last checkpoint"


def _work(channel: Connection, at_once: int) -> None:
    """The life of a process of the pool: a thread for each job that it is given."""
    end_with_parent()
    import torch

    from ltrun.engine.turns import Turns

    torch.set_num_threads(1)  # runtime.threads, where given, is set by the run
    turns, telling = Turns(), threading.Lock()

    def tell(kind: str, *words: object) -> None:
        try:
            with telling:
                channel.send((kind, threading.current_thread().name, *words))
        except OSError:  # nobody listens any more
            end()

    logger = logging.getLogger("ltrun")
    logger.handlers, logger.propagate = [_Told(tell)], False
    logger.setLevel(logging.INFO)

    def train(job: Job) -> None:
        with turns.taken_by_a_run(), Relay(tell) as progress:
            failure = attempt(job, progress, at_once)
        tell("end", failure)

    threads = []
    with suppress(EOFError):
        while (job := channel.recv()) is not None:
            threads.append(threading.Thread(target=train, args=(job,), name=str(job.folder)))
            threads[-1].start()
    for thread in threads:  # here, because libraries that are first imported while Python ends its threads refuse to
        thread.join()


class _Told(logging.Handler):
    """Sends what is logged to the process that draws."""

    def __init__(self, tell: Callable[..., None]):
        super().__init__()
        self.tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        self.tell("log", record.getMessage())
