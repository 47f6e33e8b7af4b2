"""Contracts of the class of a part: docstring, annotated arguments, one level of inheritance, no further hook."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import get_type_hints

from torch import nn

from ltrun import parts
from ltrun.config.bind import public_name
from ltrun.contracts.contract import BrokenContract, Contract, require
from ltrun.parts import CONTEXT, Part

HOOKS = ("adapt", "after_step")
ROLES = {value for value in vars(parts).values() if inspect.isclass(value) and issubclass(value, nn.Module)} | {nn.Module}


def of_a_part(part: type) -> Iterator[Contract]:
    """Yields the contracts of the class of a part or of a backbone."""
    yield Contract("the class has a docstring", lambda: has_a_docstring(part))
    yield Contract(
        "arguments are named and annotated, and only those behind the * are injected", lambda: arguments_are_plain(part)
    )
    yield Contract("the class inherits from one role of ltrun.parts", lambda: inherits_from_a_role(part))
    yield Contract("the class has the methods of its role, with their arguments", lambda: fills_its_role(part))
    yield Contract("the class has no hooks but adapt and after_step", lambda: adds_no_hook(part))


def has_a_docstring(part: type) -> None:
    """Checks that the class has a docstring."""
    said = part.__doc__ and part.__doc__.strip()
    require(
        said, f"{public_name(part)} has no docstring; write what the part does to the data, with shapes, and cite the paper"
    )


def arguments_are_plain(part: type) -> None:
    """Checks the constructor: no `*` or `**` arguments, annotations, and keyword-only arguments for names of CONTEXT only."""
    whose = public_name(part)
    if "__init__" not in vars(part):
        return
    hints = get_type_hints(vars(part)["__init__"])
    for name, parameter in list(inspect.signature(vars(part)["__init__"]).parameters.items())[1:]:
        stars = {inspect.Parameter.VAR_KEYWORD: "**", inspect.Parameter.VAR_POSITIONAL: "*"}
        if parameter.kind in stars:
            raise BrokenContract(
                f"{whose} takes {stars[parameter.kind]}{name}, so a misspelt key would not be refused; name each argument"
            )
        kind = CONTEXT.get(name, "float, or its type").partition(" of ")[0].partition(":")[0]
        require(
            parameter.annotation is not parameter.empty,
            f"{whose}: the argument '{name}' has no annotation to check values against; write {name}: {kind}",
        )
        behind = parameter.kind is parameter.KEYWORD_ONLY
        require(
            not behind or name in CONTEXT,
            f"{whose}: '{name}' stands behind the *, where ltrun injects {', '.join(CONTEXT)}; put it before the *",
        )
        nested = inspect.isclass(kind_of := hints.get(name)) and issubclass(kind_of, nn.Module)  # a part of the YAML's own
        require(
            behind or nested or name not in CONTEXT,
            f"{whose}: '{name}' is injected by ltrun, not set in a YAML; put it behind a *: def __init__(self, ..., *, {name})",
        )


def inherits_from_a_role(part: type) -> None:
    """Checks that the only base of the class is a role of ltrun.parts, or nn.Module."""
    found = ", ".join(base.__name__ for base in part.__bases__)
    require(
        len(part.__bases__) == 1 and part.__bases__[0] in ROLES,
        f"{public_name(part)} inherits from {found}; inherit from one role of ltrun.parts, such as Adjust, and share code by a "
        "function or by a part that is an argument",
    )


def fills_its_role(part: type) -> None:
    """Checks that the class has every method that its role leaves open, and that each takes the arguments of the role's."""
    for name, method in vars(part.__bases__[0]).items():
        if not inspect.isfunction(method) or name.startswith("_") or name in HOOKS:
            continue
        wanted, own = list(inspect.signature(method).parameters), vars(part).get(name)
        whose = f"{public_name(part)}.{name}"
        left_open = "NotImplementedError" in method.__code__.co_names
        require(own or not left_open, f"{whose} is missing; define it with the arguments {_call(wanted)}")
        if inspect.isfunction(own):
            try:
                inspect.signature(own).bind(*wanted)
            except TypeError:
                found = _call(list(inspect.signature(own).parameters))
                raise BrokenContract(f"{whose} takes {found}; ltrun calls it with {_call(wanted)}") from None


def adds_no_hook(part: type) -> None:
    """Checks the signatures of `adapt` and `after_step`, and that no other method has the name of a hook."""
    for name in HOOKS:
        if name in vars(part):
            wanted, found = (list(inspect.signature(vars(each)[name]).parameters) for each in (Part, part))
            require(found == wanted, f"{public_name(part)}.{name} takes {_call(found)}; ltrun calls it with {_call(wanted)}")
    for name in vars(part):
        require(
            name in HOOKS or not re.match(r"(on|before|after)_", name),
            f"{public_name(part)}.{name} looks like a hook, but ltrun calls only {' and '.join(HOOKS)}; use one of them, or "
            "rename it",
        )


def _call(names: list[str]) -> str:
    return f"({', '.join(names)})"
