"""The jobs of a command line: those done before are skipped, the others train one after the other, or several at once: on a
CPU each in a process of its own, so that a job that is killed is one failed line of the table and the others go on; on a GPU
as threads of one process, whose work the device does side by side, which it does not with that of several processes."""

from __future__ import annotations

import itertools
import logging
import multiprocessing
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import connection, forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from ltrun.compose import Job, compose_job
from ltrun.errors import ConfigError, LtrunError, did_you_mean
from ltrun.machine import end, end_with_parent, free_memory
from ltrun.progress import Overview, Progress, Relay
from ltrun.record import RESULT, RunRecord, forget

CONTEXT = multiprocessing.get_context("forkserver")
PRELOADED = ["torch", "ltrun.run"]  # imported once, by the server that the processes of a sweep are forked from
SERVER = {"OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1"}  # the server must not import what lies in the current folder
MEMORY = 2 * 2**30  # bytes that a run on a CPU is reckoned to take


@dataclass(frozen=True)
class Outcome:
    """What became of a job. folder: empty where it has no address. failure: why it has no result."""

    title: str
    folder: str
    failure: str | None = None


def combinations(words: Sequence[str]) -> list[list[str]]:
    """The overrides of each job of a sweep, the last key varying fastest.

    Raises Hydra's errors for what cannot be read, and ConfigError for an option that does not exist.
    """
    loader = GlobalHydra.instance().config_loader()
    choices: dict[str, list[str]] = {}
    for override in OverridesParser.create(loader).parse_overrides(list(words)):
        key = override.get_key_element()
        if not override.is_sweep_override():
            choices[key] = [str(override.input_line)]
        elif not override.is_discrete_sweep():
            raise ConfigError(f"'{override.input_line}': a sweep takes values, choice(...), range(...) or glob(...)")
        else:
            values = list(override.sweep_string_iterator())
            if not values:
                raise ConfigError(f"'{override.input_line}' stands for no value, so there is nothing to run")
            if known := loader.get_group_options(override.key_or_group):
                _refuse_unknown(key, values, known)
            choices[key] = [f"{key}={value}" for value in values]
    return [list(job) for job in itertools.product(*choices.values())]


def _refuse_unknown(key: str, values: Sequence[str], known: Sequence[str]) -> None:
    """Before the first job trains, rather than when it is the turn of the job that cannot be."""
    for value in values:
        if value not in known and value.isidentifier() and value != "null":
            raise ConfigError(f"{key}: there is no option '{value}'{did_you_mean(value, known)}")


def train(commands: Sequence[Sequence[str]], note: Callable[[Outcome], None]) -> None:
    """Trains the job of each command line that is not done, and notes what became of each. Hydra must be initialised.

    Raises Hydra's errors where the first job cannot be composed; a later one that cannot is a failed job.
    """
    overview = Overview(len(commands))
    jobs = _jobs(commands, overview, note)
    first = next(jobs, None)
    if first is None:
        return
    jobs = itertools.chain([first], jobs)
    if first.config["force"] and len(commands) > 1:
        known = list(jobs)
        for job in known:  # now, or results of before would stand beside those of a sweep that is cut short
            forget(job.folder)
        jobs = iter(known)
    size, lanes = _at_once(first, len(commands))
    if size == 1:
        for job in jobs:
            note(train_here(job))
        return
    with Pool(size, lanes, overview, note) as pool:
        for job in jobs:
            pool.add(job)
        pool.finish()


def _jobs(commands: Sequence[Sequence[str]], overview: Overview, note: Callable[[Outcome], None]) -> Iterator[Job]:
    """Those that are not done, composed when they are asked for."""
    seen: set[Path] = set()
    for index, words in enumerate(commands):
        try:
            job = compose_job(words)
            done = job.folder not in seen and done_before(job)
        except (HydraException, OmegaConfBaseException, LtrunError) as error:
            if not index and not isinstance(error, LtrunError):
                raise
            overview.skip()
            note(Outcome(" ".join(words), "", " ".join(str(error).split())))
            continue
        if not done and job.folder not in seen:
            yield job
        else:  # or the run of another job, as in seed=0,0
            overview.skip()
        if done:
            note(Outcome(job.title, str(job.folder)))
        seen.add(job.folder)


def done_before(job: Job) -> bool:
    """Whether the run has its result; says so. Raises DataError for a damaged one."""
    if job.config["force"] or not (job.folder / RESULT).exists():
        return False
    record = RunRecord.load(job.folder / RESULT)
    assert record.seed == job.seed
    print(f"{job.title}: done before, in {job.folder} (force=true trains it again)")
    return True


def train_here(job: Job) -> Outcome:
    """Trains in this process, with the live bar."""
    with Progress() as progress:
        failure = attempt(job, progress)
        if failure is None:
            progress.say(f"written to {job.folder}")
    return Outcome(job.title, str(job.folder), failure)


def attempt(job: Job, progress: Progress, at_once: int = 1) -> str | None:
    """Trains. Returns why there is no result, or None."""
    try:
        from ltrun.run import run

        run(job, progress, at_once)
    except LtrunError as error:
        return str(error)
    except Exception as error:
        return f"{type(error).__name__}: {error} (a defect of ltrun or of a part; {_keep_traceback(job.folder)})"
    return None


def _keep_traceback(folder: Path) -> str:
    if not folder.is_dir():
        return traceback.format_exc()
    path = folder / "error.log"
    path.write_text(traceback.format_exc())
    return f"the traceback is in {path}"


# ---------------------------------------------------------------------------------------------------- how many at once


def _at_once(job: Job, jobs: int) -> tuple[int, int]:
    """How many jobs train at once, the value of runtime.pack, and how many of them share a process: one, or on a GPU all.

    auto: one for each CPU core and 2 GiB of free memory, and one on a GPU.
    """
    wanted, device = job.config["runtime"]["pack"], job.config["runtime"]["device"]
    size = min(jobs, max(1, min(cores(), free_memory() // MEMORY)) if wanted == "auto" else wanted)
    if size == 1 or device == "cpu" or (device == "auto" and not _has_cuda()):
        return size, 1
    return (1, 1) if wanted == "auto" else (size, size)


def cores() -> int:
    """CPU cores that this process may use, by its affinity and by the quota of its container."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):  # no container, or no quota: 'max'
        quota, period = map(int, Path("/sys/fs/cgroup/cpu.max").read_text().split())
        return min(affinity, max(1, quota // period))
    return affinity


def _has_cuda() -> bool:
    """Asked of a process of its own, because neither this one nor the server that others are forked from may touch CUDA."""
    ours, theirs = CONTEXT.Pipe(duplex=False)
    _start_server()
    process = CONTEXT.Process(target=_tell_cuda, args=(theirs,))
    process.start()
    theirs.close()
    try:
        return bool(ours.recv())
    except EOFError:
        return False
    finally:
        process.join()


def _tell_cuda(channel: Connection) -> None:
    import torch

    with suppress(OSError):
        channel.send(torch.cuda.is_available())


# ---------------------------------------------------------------------------------------------------------- processes


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
        _start_server()
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
        self._go_on(block=False)
        while len(self.waiting) > self.size:
            self._go_on(block=True)

    def finish(self) -> None:
        while self.waiting or self.running:
            if not self.waiting:
                for worker in self.running:
                    worker.close()
            self._go_on(block=True)

    def _go_on(self, block: bool) -> None:
        """Hears what the processes have to say, then fills the places of jobs that have ended."""
        if self._fill():
            block = False
        channels = {worker.channel: worker for worker in self.running}
        for channel in connection.wait(list(channels), None if block else 0):
            self._hear(channels[channel])  # type: ignore[index]
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

    def _hear(self, worker: Worker) -> None:
        try:
            kind, folder, *words = worker.channel.recv()
        except (EOFError, OSError):
            self._bury(worker)
            return
        if kind != "end":
            getattr(self.overview, kind)(worker.jobs[folder].title, *words)
            return
        self._end(worker.jobs.pop(folder), *words)
        if words[0] is not None:
            worker.close()  # what a defect has left of a device's memory, or of a library, is not for other jobs

    def _bury(self, worker: Worker) -> None:
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


def _start_server() -> None:
    """Begins to import what the processes need, and does not wait for it."""
    CONTEXT.set_forkserver_preload(PRELOADED)
    with _environment(SERVER):
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited: Ctrl-C is for the process that started the sweep
        try:
            forkserver.ensure_running()
        finally:
            signal.signal(signal.SIGINT, before)


@contextmanager
def _environment(names: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(names)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _work(channel: Connection, at_once: int) -> None:
    """The life of a process of the pool: a thread for each job that it is given."""
    end_with_parent()
    import torch

    from ltrun.turns import Turns

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
