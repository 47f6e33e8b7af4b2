"""Leaves of the nested tuples, lists and dictionaries that a kernel takes and returns; torch.utils._pytree takes far longer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def leaves(node: Any) -> list[Any]:
    """Returns the leaves in their order."""
    if isinstance(node, dict):
        node = node.values()
    elif not isinstance(node, (tuple, list)):
        return [node]
    found: list[Any] = []
    for inside in node:
        if isinstance(inside, (tuple, list, dict)):
            found += leaves(inside)
        else:
            found.append(inside)
    return found


def mapped(change: Callable[[Any], Any], node: Any) -> Any:
    """Returns a copy with the leaves changed; of plain tuples, lists and dictionaries."""
    if isinstance(node, dict):
        return {name: mapped(change, inside) for name, inside in node.items()}
    if isinstance(node, (tuple, list)):
        return type(node)([mapped(change, inside) for inside in node])
    return change(node)
