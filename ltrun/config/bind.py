"""Binding of configuration nodes to classes, and construction of the objects.

A configuration is data, not code: `bind` accepts a `_target_` only if it names a class that is defined inside ltrun or a
package listed in `plugins`, and it checks every node against the class's signature before any data is opened.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import traceback
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Generic, TypeVar, Union, cast, get_args, get_origin, get_type_hints, overload

from ltrun.config.values import coerce, takes
from ltrun.errors import ConfigError, did_you_mean
from ltrun.parts import CONTEXT
from ltrun.taxonomy import GROUPS

VALUES = (float, int, bool, str, NoneType)  # annotations that no part fits
TOO_LARGE = ("allocate memory", "out of memory", "calculation overflowed", "verflow when unpacking")  # in errors of torch
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True)
class Bound(Generic[T_co]):
    """A class with checked arguments, not yet built. origin: the choice it comes from, such as 'margin=ldam'."""

    target: type[T_co]
    arguments: Mapping[str, Any]
    path: str
    origin: str = ""

    def walk(self) -> Iterator[Bound[Any]]:
        """Yields this node and all nodes nested in it."""
        yield self
        for value in self.arguments.values():
            if isinstance(value, Bound):
                yield from value.walk()

    def wants(self, name: str) -> bool:
        """Whether this node, or a node nested in it, asks for a piece of context."""
        return any(name in node.injected for node in self.walk())

    @property
    def injected(self) -> list[str]:
        """The pieces of context that the constructor names: keyword-only, like the fixtures of a test."""
        return _injected(cast(Hashable, self.target))

    def build(self, context: Mapping[str, Any]) -> T_co:
        """Builds the object with the context that its constructor names. Raises ConfigError, with the key path."""
        arguments = {k: v.build(context) if isinstance(v, Bound) else v for k, v in self.arguments.items()}
        for name in self.injected:
            if name not in context and _parameters(cast(Hashable, self.target))[name].default is not inspect.Parameter.empty:
                continue
            if name not in context:
                raise ConfigError(f"{self.path}: {public_name(self.target)} needs '{name}', which this slot does not have")
            arguments[name] = context[name]
        try:
            return self.target(**arguments)
        except ConfigError as error:
            names_key = str(error).partition(" ")[0] in self.arguments
            complete = str(error).startswith(f"{self.path}.")  # the sentence has the key path already
            refused = error if complete else ConfigError(f"{self.path}.{error}" if names_key else f"{self.path}: {error}")
            refused.certain = names_key or complete or self.target.__module__.startswith("ltrun.")
            raise refused from None
        except Exception as error:
            if not isinstance(error, MemoryError) and not any(words in str(error) for words in TOO_LARGE):
                raise
            whole = [f"{self.path}.{name}={value}" for name, value in self.arguments.items() if type(value) is int]
            named = f"; lower {' or '.join(whole)}" if whole else ""
            raise ConfigError(f"{self.path}: {public_name(self.target)} does not fit into memory{named}") from None


@overload
def bind(node: Any, path: str, expected: type[T], plugins: Sequence[str] = (), origin: str = "") -> Bound[T]: ...


@overload
def bind(
    node: Any, path: str, expected: tuple[type, ...] | None = None, plugins: Sequence[str] = (), origin: str = ""
) -> Bound[Any]: ...


def bind(
    node: Any, path: str, expected: type | tuple[type, ...] | None = None, plugins: Sequence[str] = (), origin: str = ""
) -> Bound[Any]:
    """Checks a node against the signature of its `_target_`. expected: the kind or kinds of class that are allowed.

    Raises ConfigError, with the key path and the way out, for a target that is not allowed or not of the expected kind, an
    unknown or missing argument, or a value of the wrong type; and for a class with an argument that may be null but has
    another default, because the address of a run does not distinguish null from a missing key.
    """
    if not isinstance(node, Mapping) or not isinstance(node.get("_target_"), str):
        raise ConfigError(f"{path}: expected a part, a mapping with a _target_, got {node!r}")
    target = locate(node["_target_"], path, plugins)
    kinds = (expected,) if isinstance(expected, type) else expected
    if kinds and not any(_is_kind(target, kind) for kind in kinds):
        wanted = " or ".join(kind.__name__ for kind in kinds)
        article = "an" if wanted[0] in "AEIOU" else "a"
        raise ConfigError(f"{path}: {public_name(target)} is not {article} {wanted}, which this place needs")
    try:
        hints = _hints(target)
    except (NameError, TypeError, AttributeError, SyntaxError) as error:
        raise ConfigError(f"{path}: an annotation of {public_name(target)} cannot be read: {error}") from None
    parameters = _parameters(target)
    injected = _injected(target)
    known = [name for name in parameters if name not in injected]
    arguments: dict[str, Any] = {}
    for key, value in node.items():
        if key == "_target_":
            continue
        if key in injected:
            raise ConfigError(f"{path}.{key}: ltrun sets '{key}' itself; remove it")
        if key not in parameters:
            raise ConfigError(f"{path}.{key}: {public_name(target)} takes no '{key}'{did_you_mean(str(key), known)}")
        arguments[str(key)] = _argument(value, hints.get(str(key), Any), f"{path}.{key}", plugins, origin)
    for name in known:
        default = parameters[name].default
        nullable = takes(None, hints[name]) if name in hints else arguments.get(name, default) is None
        if nullable and default is not None and default is not inspect.Parameter.empty:
            raise ConfigError(
                f"{path}.{name}: {public_name(target)} takes null here and has another default, {default!r}, so two different "
                f"runs would have one address; make None the default of '{name}', or exclude None from its annotation"
            )
        if name not in arguments and default is inspect.Parameter.empty:
            if name in CONTEXT:
                raise ConfigError(f"{path}.{name}: {public_name(target)} must take '{name}' after a *, where ltrun sets it")
            raise ConfigError(f"{path}.{name}: {public_name(target)} needs a value here")
    return Bound(target, arguments, path, origin)


def public_name(target: type) -> str:
    """Returns the shortest name of a class: `ltrun.margin.LDAM` if its family exports it, not `ltrun.margin.ldam.LDAM`."""
    steps = target.__module__.split(".")
    packages = (".".join(steps[:n]) for n in range(1, len(steps) + 1))
    short = next((p for p in packages if getattr(sys.modules.get(p), target.__qualname__, None) is target), target.__module__)
    return f"{short}.{target.__qualname__}"


@cache
def _hints(target: type) -> Mapping[str, Any]:
    return get_type_hints(target.__init__)  # type: ignore[misc]


@cache
def _parameters(target: type) -> Mapping[str, inspect.Parameter]:
    """Returns the named arguments of a constructor; none if a class has only nn.Module's."""
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {k: v for k, v in inspect.signature(target).parameters.items() if v.kind not in variable}


@cache
def _injected(target: type) -> list[str]:
    """Returns the pieces of context that a constructor names: keyword-only, like the fixtures of a test."""
    return [k for k, v in _parameters(target).items() if v.kind is inspect.Parameter.KEYWORD_ONLY and k in CONTEXT]


def _is_kind(target: type, expected: type) -> bool:
    """Whether a class is a subclass of a part or, for a protocol, has its methods."""
    if getattr(expected, "_is_protocol", False):
        return all(
            hasattr(target, name) for name in vars(expected) if not name.startswith("_") and callable(vars(expected)[name])
        )
    return issubclass(target, expected)


def locate(name: str, path: str, plugins: Sequence[str]) -> type:
    """The class that a dotted name stands for; never imports, nor returns, anything outside the allowed packages."""
    allowed = ("ltrun", *plugins)
    refusal = ConfigError(
        f"{path}._target_: {name!r} is not allowed: a _target_ names a class of ltrun or of a package given as "
        "plugins=[package] on the command line"
    )
    module_name, _, class_name = name.rpartition(".")
    if name.split(".")[0] not in allowed or not module_name:
        raise refusal
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # a plugin may raise anything while it is imported
        missing = isinstance(error, ModuleNotFoundError) and error.name == name.split(".")[0]
        way_out = "; install it, or add the folder that holds it to PYTHONPATH" if missing else ""
        if isinstance(error, ModuleNotFoundError) and module_name.startswith("ltrun."):
            way_out = did_you_mean(module_name, [f"ltrun.{group}" for group in GROUPS])
        raise ConfigError(f"{path}._target_: {name!r} cannot be imported: {_import_error(error)}{way_out}") from None
    target = getattr(module, class_name, None)
    if target is None:
        classes = [k for k, v in vars(module).items() if inspect.isclass(v) and v.__module__.split(".")[0] in allowed]
        raise ConfigError(f"{path}._target_: {module_name} has no {class_name!r}{did_you_mean(class_name, classes)}")
    if not inspect.isclass(target) or target.__module__.split(".")[0] not in allowed:
        raise refusal
    return target


def _import_error(error: Exception) -> str:
    """Returns an error in one line, with the place in the user's code where it was raised."""
    what = str(error) if isinstance(error, ImportError) else f"{type(error).__name__}: {error}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
    where = f" ({frames[-1].filename}, line {frames[-1].lineno})" if len(frames) > 1 else ""
    return what + where


def _argument(value: Any, hint: Any, path: str, plugins: Sequence[str], origin: str) -> Any:
    """Converts a value to the type of its annotation: binds nested parts, widens integers to floats."""
    if isinstance(value, Mapping) and "_target_" in value:
        choices = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        kinds = tuple(kind for kind in choices if inspect.isclass(kind) and kind not in (*VALUES, Any))
        if kinds or Any in choices:
            return bind(value, path, kinds or None, plugins, origin)
    return coerce(value, hint, path)
