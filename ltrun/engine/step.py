"""One training step as a function of device tensors: run eagerly, compiled, or replayed as one CUDA graph."""

from __future__ import annotations

import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from inspect import getfile
from typing import Any, ClassVar

import torch
from torch import Tensor

from ltrun.engine.context import RunContext
from ltrun.engine.monitor import LossMonitor
from ltrun.engine.objective import Objective
from ltrun.parts import Descent, Part, Update
from ltrun.types import Streams

BACKEND = "inductor"
Shape = tuple[tuple[str, tuple[torch.Size, ...]], ...]
WARM_UP = 3  # eager steps of a shape before its capture: libraries choose kernels, memory is allocated


class Step:
    """Takes a step on streams, in place: objective, gradient, parameter update, state of the parts, and the monitor's sums.

    runtime.compile: 'auto' replays the whole step as a CUDA graph on CUDA, with the same kernels and the same bits. True also
    compiles the objective by inductor, on a CPU too, where the first step then takes half a minute. False runs steps eagerly.
    Each shape of the streams has a graph of its own: full batches, and the smaller last batch of an epoch. If a part cannot be
    compiled or captured, `warn` gets one sentence that names the part, and steps run eagerly. On CUDA, run inside
    `own_stream`: the default stream cannot be captured.

    tensors: the tensors that a step writes, without the optimizer's and the monitor's; a failed attempt restores them. follow:
    called after each step, moves an average of the weights. spoilt: whether a capture failed in this process; PyTorch 2.11 then
    never gives back the memory of that capture.
    """

    spoilt: ClassVar[bool] = False

    def __init__(
        self,
        objective: Objective,
        update: Update,
        optimizer: Descent,
        monitor: LossMonitor,
        parts: Sequence[Part],
        tensors: Sequence[Tensor],
        context: RunContext,
        follow: Callable[[], None] | None = None,
    ) -> None:
        self.objective, self.update, self.optimizer, self.monitor = objective, update, optimizer, monitor
        self.parts, self.tensors, self.device, self.warn = parts, tensors, context.device, context.warn
        self.follow = follow
        compile, device = context.settings.runtime.compile, context.device
        self.captures, self.compiles = compile is not False and device.type == "cuda", compile is True
        if not context.ranks.alone or context.settings.runtime.accumulate > 1:  # messages between ranks, kept random states
            self.captures = self.compiles = False
        if self.captures and not all(isinstance(group["lr"], Tensor) for group in optimizer.param_groups):
            self._give_up(f"{type(optimizer).__name__}, whose learning rate is not a tensor,")
        if self.compiles:
            compile_objective(objective)
        self.seen: Counter[Shape] = Counter()
        self.graphs: dict[Shape, Graph] = {}

    def __call__(self, streams: Streams) -> None:
        shape = tuple((name, tuple(tensor.shape for tensor in batch.tensors())) for name, batch in streams.items())
        self.seen[shape] += 1
        if shape in self.graphs:
            self.graphs[shape].replay(streams)
        elif self.compiles and self.seen[shape] == 1:
            self._attempt(self.take, streams)
        elif self.captures and self.seen[shape] == WARM_UP:
            self._attempt(self._run_without_waiting, streams)
        elif self.captures and self.seen[shape] > WARM_UP:
            self._attempt(self._capture, streams, shape)
        else:
            self.take(streams)

    def take(self, streams: Streams) -> None:
        """Takes a step eagerly."""
        if self.compiles:
            streams = {name: batch.replace() for name, batch in streams.items()}  # tensors, which a late batch gathers here
        values, outputs, seen = self.update(self.objective, self.optimizer, streams)
        values = {name: value.detach() for name, value in values.items()}
        outputs = {name: output.detach() for name, output in outputs.items()}
        self.monitor.see(len(streams["main"]), values, outputs)
        with torch.no_grad():
            for part in self.parts:
                part.after_step(outputs, seen)
        if self.follow is not None:
            self.follow()

    def _run_without_waiting(self, streams: Streams) -> None:
        """Takes a step that raises where the host would wait for the device: a captured step cannot wait."""
        with no_waiting():
            self.take(streams)

    def _capture(self, streams: Streams, shape: Shape) -> None:
        pool = next((graph.graph.pool() for graph in self.graphs.values()), None)
        try:
            self.graphs[shape] = Graph(self.take, streams, pool)
        except Exception:
            Step.spoilt = True
            raise
        self.graphs[shape].replay(streams)

    def _attempt(self, way: Callable[..., None], streams: Streams, *more: Any) -> None:
        """Takes the step in a way that may fail; after a failure, restores all state and takes the step eagerly."""
        tensors = [*self.tensors, *leaves(self.optimizer.state_dict()), *self.monitor.tensors()]
        before, state = [tensor.detach().clone() for tensor in tensors], random_state(self.device)
        try:
            way(streams, *more)
            return
        except Exception as error:
            self._give_up(culprit(error, self.parts), error)
        # Outside the except clause, because the error keeps the memory of the failed step alive.
        with torch.no_grad():
            for tensor, old in zip(tensors, before, strict=True):
                tensor.copy_(old)
        set_random_state(self.device, state)
        self.monitor.found = {}
        self.take(streams)

    def _give_up(self, name: str, error: Exception | None = None) -> None:
        lines = str(error or "").strip().splitlines()
        self.warn(
            f"runtime.compile: {name} cannot be compiled or captured{f' ({lines[0]})' if lines else ''}; steps run eagerly"
        )
        self.captures = self.compiles = False
        self.graphs = {}
        self.objective._compiled_call_impl = None


class Graph:
    """A captured step, and the tensors from which it reads its streams."""

    def __init__(self, run: Callable[[Streams], None], streams: Streams, pool: Any) -> None:
        self.streams = {name: batch.clone() for name, batch in streams.items()}
        self.graph = captured(lambda: run(self.streams), pool)

    def replay(self, streams: Streams) -> None:
        for name, batch in self.streams.items():
            for own, new in zip(batch.tensors(), streams[name].tensors(), strict=True):
                own.copy_(new)
        self.graph.replay()


def captured(call: Callable[[], object], pool: Any = None) -> torch.cuda.CUDAGraph:
    """Returns what a call does on the present stream, which must not be the default stream, as a CUDA graph.

    pool: memory of another graph, which both graphs use. `torch.cuda.graph` makes the same graph, but first waits for the
    device and empties its cache, at the cost of all runs that share it. Here the cache is emptied only if the device could
    not hold as much memory a second time, because a capture cannot empty it.
    """
    if torch.cuda.mem_get_info()[0] < torch.cuda.memory_reserved():
        torch.cuda.empty_cache()
    graph = torch.cuda.CUDAGraph()
    graph.capture_begin(pool, capture_error_mode="thread_local")
    try:
        call()
    except BaseException:
        with suppress(RuntimeError):  # the capture is invalid, which says nothing of the cause
            graph.capture_end()
        raise
    graph.capture_end()
    return graph


@contextmanager
def own_stream(device: torch.device) -> Iterator[None]:
    """Puts the work of this thread on a CUDA stream of its own: the default stream cannot be captured, and runs that take turns
    would wait for each other on it. Does nothing on other devices."""
    if device.type != "cuda":
        yield
        return
    with torch.cuda.device(device), torch.cuda.stream(torch.cuda.Stream(device)):
        yield
        torch.cuda.current_stream().synchronize()


def compile_objective(objective: Objective) -> None:
    """Compiles the objective once for each shape. Random numbers are the same as in an eager step."""
    import torch._inductor.config

    torch._inductor.config.fallback_random = True
    objective.compile(dynamic=False, fullgraph=True, backend=BACKEND)


def culprit(error: BaseException, parts: Sequence[Part]) -> str:
    """Returns the class name of the innermost part that raised the error or an error in its context.

    A compiler or library may raise an error of its own, which has the part's error as its context.
    """
    raised = [error]
    while raised[-1].__context__ is not None:
        raised.append(raised[-1].__context__)
    frames = [frame for one in raised for frame, _ in traceback.walk_tb(one.__traceback__)]
    owners = [type(frame.f_locals["self"]) for frame in frames if isinstance(frame.f_locals.get("self"), Part)]
    files = {getfile(type(part)): type(part) for part in parts}
    owners += [files[line.filename] for line in getattr(error, "real_stack", None) or () if line.filename in files]  # traced
    return owners[-1].__name__ if owners else "a part"


@contextmanager
def no_waiting() -> Iterator[None]:
    """Makes torch raise RuntimeError where the host would wait for the CUDA device."""
    mode = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Synchronization debug mode")  # torch warns that it is a prototype
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(mode)


def random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Returns the states of the default generators of the host and, on CUDA, of the device."""
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def set_random_state(device: torch.device, state: tuple[Tensor, Tensor | None]) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        generator = torch.cuda.default_generators[torch.cuda.current_device()]
        generator.graphsafe_set_state(generator.clone_state())  # the old state is still marked as captured
        torch.cuda.set_rng_state(state[1], device)


def leaves(tree: Any) -> list[Tensor]:
    """Returns the tensors in nested mappings and lists."""
    if isinstance(tree, Tensor):
        return [tree]
    nested = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, (list, tuple)) else ()
    return [tensor for item in nested for tensor in leaves(item)]
