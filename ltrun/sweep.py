"""The jobs of a command line: those done before are skipped, the others train one after the other, or several at once, each
in a process of its own, so that a job that is killed is one failed line of the table and the others go on."""

from __future__ import annotations

import itertools
import logging
import multiprocessing
import os
import signal
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
from ltrun.record import RESULT, RunRecord

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
    size = _at_once(first, len(commands))
    if size == 1:
        for job in itertools.chain([first], jobs):
            note(train_here(job))
        return
    with Pool(size, overview, note) as pool:
        for job in itertools.chain([first], jobs):
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


def attempt(job: Job, progress: Progress) -> str | None:
    """Trains. Returns why there is no result, or None."""
    try:
        from ltrun.run import run

        run(job, progress)
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


def _at_once(job: Job, jobs: int) -> int:
    """The value of runtime.pack; auto: one for each CPU core and 2 GiB of free memory, and one on a GPU."""
    runtime = job.config["runtime"]
    if runtime["pack"] != "auto":
        return min(jobs, runtime["pack"])
    size = min(jobs, cores(), max(1, free_memory() // MEMORY))
    on_cpu = size == 1 or runtime["device"] == "cpu" or (runtime["device"] == "auto" and not _has_cuda())
    return size if on_cpu else 1


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
    """A process that trains one job. outcome: its last word, if it has said it."""

    job: Job
    process: ForkServerProcess
    channel: Connection
    said: list[str | None] = field(default_factory=list)


class Pool:
    """Trains `size` jobs at once, each in a single-threaded process. Leaving it stops those that run."""

    def __init__(self, size: int, overview: Overview, note: Callable[[Outcome], None]):
        self.size, self.overview, self.note = size, overview, note
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
            self._go_on(block=True)

    def _go_on(self, block: bool) -> None:
        """Hears what the processes have to say, then fills the places of those that have ended."""
        while self.waiting and len(self.running) < self.size:
            self._start(self.waiting.popleft())
            block = False
        channels = {worker.channel: worker for worker in self.running}
        for channel in connection.wait(list(channels), None if block else 0):
            self._hear(channels[channel])  # type: ignore[index]
        while self.waiting and len(self.running) < self.size:
            self._start(self.waiting.popleft())

    def _start(self, job: Job) -> None:
        ours, theirs = CONTEXT.Pipe(duplex=False)
        process = CONTEXT.Process(target=_work, args=(job, theirs))
        process.start()
        theirs.close()  # the end of the channel is now the end of the process
        self.running.append(Worker(job, process, ours))
        self.overview.begin(job.title)

    def _hear(self, worker: Worker) -> None:
        title = worker.job.title
        try:
            kind, *words = worker.channel.recv()
        except (EOFError, OSError):
            self._bury(worker)
            return
        if kind == "end":
            worker.said = words
        else:
            getattr(self.overview, kind)(title, *words)

    def _bury(self, worker: Worker) -> None:
        worker.process.join()
        worker.channel.close()
        self.running.remove(worker)
        failure = worker.said[0] if worker.said else _cause_of_death(worker.process.exitcode)
        self.overview.end(worker.job.title, failure)
        self.note(Outcome(worker.job.title, str(worker.job.folder), failure))


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


def _work(job: Job, channel: Connection) -> None:
    """The life of a process of the pool."""
    end_with_parent()
    import torch

    def tell(*message: object) -> None:
        try:
            channel.send(message)
        except OSError:  # nobody listens any more
            end()

    torch.set_num_threads(1)  # runtime.threads, where given, is set by the run
    logger = logging.getLogger("ltrun")
    logger.handlers, logger.propagate = [_Told(tell)], False
    logger.setLevel(logging.INFO)
    with Relay(tell) as progress:
        tell("end", attempt(job, progress))


class _Told(logging.Handler):
    """Sends what is logged to the process that draws."""

    def __init__(self, tell: Callable[..., None]):
        super().__init__()
        self.tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        self.tell("log", record.getMessage())
