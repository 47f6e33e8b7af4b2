"""An imagined CUDA device, which tests the capture and replay of training steps on machines without a GPU.

Its tensors lie in the host's memory and are computed by the host's kernels, so that results have the bits of a CPU, but they
refuse to meet tensors of the host, as a device's do. The host cannot wait for the device where torch's sync debug mode says
"error" or a graph is being captured; a capture in which it would have waited is invalid and cannot be ended. A captured graph
is a tape of kernels: replaying it runs those kernels on the tensors that were there when it was captured, and nothing of
Python. What only a real device has, such as streams and the memory of graphs, is not imagined.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_map

from ltrun.contracts.nested import leaves, mapped

DEVICE = torch.device("cuda", 0)
MEMORY = 2**36  # bytes of the device
UNDERNEATH = "meta"  # torch's own bookkeeping asks no driver about tensors of this one
CROSSES = ("_to_copy", "copy_")
BY_INDEX = ("index", "index_put", "index_put_", "_index_put_impl_")
WAITS = ("_local_scalar_dense", "nonzero", "bincount", "unique", "masked_select", "is_nonzero", "equal", "repeat_interleave")
Kernel = Callable[..., Any]


class Imagined(Tensor):
    """A tensor of the device. host: its numbers, which lie on the host."""

    host: Tensor

    @staticmethod
    def __new__(cls, host: Tensor) -> Imagined:
        self = Tensor._make_wrapper_subclass(
            cls,
            host.size(),
            strides=host.stride(),
            storage_offset=host.storage_offset(),
            dtype=host.dtype,
            device=torch.device(UNDERNEATH),
        )
        self.host = host
        return self

    device = property(lambda self: DEVICE)
    is_cuda = True
    is_meta = False

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # torch's stub knows no class method
        cls, func: Kernel, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _compute(func, args, kwargs or {})

    def tolist(self) -> Any:
        _refuse_to_wait("tolist")
        return self.host.tolist()

    def numpy(self, **_: object) -> Any:
        raise TypeError("a tensor of a device has no NumPy array")

    def __array__(self, *_: object) -> Any:
        return self.numpy()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.host.__reduce_ex__(protocol)


class Mode(TorchDispatchMode):
    """For tensors that are made on the device; for each thread."""

    def __enter__(self) -> Any:
        torch._C._set_only_lift_cpu_tensors(True)
        return super().__enter__()

    def __exit__(self, *exception: Any) -> None:
        torch._C._set_only_lift_cpu_tensors(False)
        super().__exit__(*exception)

    def __torch_dispatch__(self, func: Kernel, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(func, args, kwargs or {})


class _Machine:
    """The state of the imagined device, one per process."""

    sync_debug = 0
    capturing: Tape | None = None


_machine = _Machine()


class Tape:
    """Stands for torch.cuda.CUDAGraph."""

    def __init__(self) -> None:
        self.kernels: list[tuple[Kernel, Any, Any, list[Tensor]]] = []
        self.before: list[tuple[Tensor, Tensor]] = []
        self.valid = True

    def capture_begin(self, pool: object, capture_error_mode: str) -> None:
        assert capture_error_mode == "thread_local", "other threads train other runs"
        self.memory = pool or object()
        _machine.capturing, self.random = self, torch.get_rng_state()

    def capture_end(self) -> None:
        _machine.capturing = None
        self.rewind()
        torch.set_rng_state(self.random)
        if not self.valid:
            raise RuntimeError("the capture is invalid")

    def see(self, tensors: Sequence[Tensor]) -> None:
        """Notes tensors that a kernel is about to read or write; an expanded tensor cannot be written."""
        self.before += [(tensor, tensor.clone()) for tensor in tensors if 0 not in tensor.stride()]

    @torch.no_grad()
    def rewind(self) -> None:
        """Restores the noted tensors, because a capture computes nothing."""
        for tensor, old in reversed(self.before):
            tensor.copy_(old)
        self.before = []

    def pool(self) -> object:
        return self.memory

    def record(self, func: Kernel, args: Any, kwargs: Any, results: Any) -> None:
        """Records a kernel. Tensors of the host keep their present values, as arguments of a kernel do."""
        host = {id(x): x for x in leaves((args, kwargs)) if isinstance(x, Tensor) and not isinstance(x, Imagined)}
        frozen = {key: x.clone() for key, x in host.items()}
        args, kwargs = mapped(lambda x: frozen.get(id(x), _inner(x)), (args, kwargs))
        self.kernels.append((func, args, kwargs, [x for x in leaves(results) if isinstance(x, Tensor)]))

    def replay(self) -> None:
        with torch.no_grad(), _disable_current_modes():  # the kernels have the numbers themselves
            for func, args, kwargs, results in self.kernels:
                again = [x for x in leaves(func(*args, **kwargs)) if isinstance(x, Tensor)]
                for old, new in zip(results, again, strict=True):
                    if old.data_ptr() != new.data_ptr():  # else it is a view, or was written in place
                        old.copy_(new)


def _compute(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Runs a kernel on the numbers, if the device would."""
    name = func.__name__.split(".")[0]
    tensors = [x for x in leaves((args, kwargs)) if isinstance(x, Tensor)]
    there = [x for x in tensors if isinstance(x, Imagined)]
    wanted = kwargs.get("device")
    on_device = bool(there) if wanted is None else torch.device(wanted).type in (DEVICE.type, UNDERNEATH)
    if there or on_device:
        _refuse_what_a_device_refuses(name, args, kwargs, tensors, on_device)
    if wanted is not None:
        kwargs = kwargs | {"device": torch.device("cpu")}
    inner_args, inner_kwargs = mapped(_inner, (args, kwargs))
    tape = _machine.capturing
    if tape is not None:
        tape.see([x.host for x in there])
    if name == "copy_":
        func(*inner_args, **inner_kwargs)
        results: Any = args[0]
    else:
        found = func(*inner_args, **inner_kwargs)
        same = {id(x.host): x for x in there}  # what was written in place
        results = mapped(lambda x: _outer(x, same), found) if on_device else found
    if tape is not None and on_device:
        tape.record(func, args, kwargs, mapped(_inner, results))
    return results


def _refuse_what_a_device_refuses(name: str, args: Any, kwargs: Any, tensors: Sequence[Tensor], on_device: bool) -> None:
    host = [x for x in tensors if not isinstance(x, Imagined)]
    if on_device and any(isinstance(x, torch.Generator) for x in kwargs.values()):
        raise RuntimeError(f"{name}: expected a generator of the device")
    if name.startswith(WAITS):
        _refuse_to_wait(name)
    if name in CROSSES:
        if (name == "copy_" and host) or (name == "_to_copy" and (host or not on_device)):
            _refuse_to_wait(name)
        return
    if name in BY_INDEX:
        if not isinstance(args[0], Imagined):
            raise RuntimeError(f"{name}: a tensor of the host by an index on the device")
        indices = [x for x in args[1] if x is not None]
        if any(not isinstance(x, Imagined) or x.dtype in (torch.bool, torch.uint8) for x in indices):
            _refuse_to_wait(f"{name} by a mask or by an index of the host")
        host = [x for x in host if not any(x is index for index in indices)]
    if any(x.dim() for x in host):
        raise RuntimeError(f"{name}: expected all tensors on one device, but found some of the host")


def _refuse_to_wait(name: str) -> None:
    tape = _machine.capturing
    if tape is not None:
        tape.valid = False
    if tape is not None or _machine.sync_debug == "error":
        raise RuntimeError(f"{name} makes the host wait for the device")


def _inner(x: Any) -> Any:
    return x.host if isinstance(x, Imagined) else x


def _outer(x: Any, known: dict[int, Imagined]) -> Any:
    return x if not isinstance(x, Tensor) else known[id(x)] if id(x) in known else Imagined(x)


def _apply(self: nn.Module, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
    """nn.Module._apply, which cannot move a parameter to a tensor of another class and keep it the same object."""
    for module in self.modules():
        for parameter in module._parameters.values():
            if parameter is None or isinstance(parameter, Imagined):
                continue
            with torch.no_grad():
                moved = fn(parameter)
            if isinstance(moved, Imagined):
                torch.utils.swap_tensors(parameter, nn.Parameter(moved, parameter.requires_grad))
            else:
                parameter.data = moved
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = fn(buffer)
    return self


def _load(load: Kernel, *args: Any, map_location: torch.device | None = None, **kwargs: Any) -> Any:
    state = load(*args, map_location="cpu", **kwargs)
    there = map_location is not None and map_location.type == DEVICE.type
    return tree_map(lambda x: Imagined(x) if there and isinstance(x, Tensor) else x, state)


class _Generator:
    """The device's default generator is the host's."""

    def clone_state(self) -> _Generator:
        return self

    def graphsafe_get_state(self) -> _Generator:
        return self

    def graphsafe_set_state(self, other: _Generator) -> None:
        pass


class _Stream:
    """Work is done when it is queued."""

    def __init__(self, *_: object, blocking: bool = False) -> None:
        pass

    def record(self) -> None:
        pass

    synchronize = record
    cuda_stream = 0

    def wait_stream(self, other: _Stream) -> None:
        pass

    def is_capturing(self) -> bool:
        return _machine.capturing is not None


@contextmanager
def imagined_cuda() -> Iterator[None]:
    """torch.cuda and the device `DEVICE`, which needs its index: torch asks the driver about a device without one."""
    cuda = {
        "_lazy_init": lambda: None, "is_available": lambda: True, "get_device_name": lambda device: "imagined",
        "get_device_capability": lambda device=None: (9, 0),
        "reset_peak_memory_stats": lambda device: None, "max_memory_allocated": lambda device: 1,
        "CUDAGraph": Tape, "Stream": _Stream, "Event": _Stream, "current_stream": _Stream,
        "stream": nullcontext, "device": nullcontext, "get_rng_state": lambda device: torch.get_rng_state(),
        "set_rng_state": lambda state, device: torch.set_rng_state(state), "default_generators": (_Generator(),),
        "current_device": lambda: DEVICE.index, "is_current_stream_capturing": lambda: _machine.capturing is not None,
        "get_sync_debug_mode": lambda: _machine.sync_debug,
        "set_sync_debug_mode": lambda mode: setattr(_machine, "sync_debug", mode),
        "synchronize": lambda device=None: _refuse_to_wait("synchronize"),
        "empty_cache": lambda: _refuse_to_wait("empty_cache"),
        "mem_get_info": lambda: (MEMORY, MEMORY), "memory_reserved": lambda: 0,
    }  # fmt: skip
    with ExitStack() as stack:
        for name, value in cuda.items():
            stack.enter_context(patch.object(torch.cuda, name, value))
        for name, made in {"current_accelerator": lambda check_available=False: DEVICE, "current_stream": _Stream}.items():
            stack.enter_context(patch.object(torch.accelerator, name, made))  # optimizers ask whether a step is captured
        stack.enter_context(patch.object(nn.Module, "_apply", _apply))
        stack.enter_context(torch.backends.cudnn.flags(enabled=False))  # its kernels have names of their own
        stack.enter_context(patch.object(torch, "load", partial(_load, torch.load)))
        stack.enter_context(Mode())
        yield
