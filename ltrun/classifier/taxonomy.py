"""Trees of classes: superclasses above the classes, as tensors that index the edges of a tree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ltrun.errors import ConfigError, did_you_mean

Children = Sequence[Sequence[int]]
"""For each inner node, the root first, its children: c >= 0 for class c, -v for the inner node v."""


class Tree(NamedTuple):
    """Edges lead from an inner node to a child and are numbered by node; L is the depth of the deepest class.

    edges: their number E. choices: (V, K) edges of each inner node, E where there is none. paths: (C, L) edges from the root to
    a class, E beyond it. nodes: (C, L) inner nodes that these edges leave, V beyond. hidden: (C, L) inner nodes above a class,
    without the root, that another class represents, V elsewhere: the class of the lowest number represents a node.
    """

    edges: int
    choices: Tensor
    paths: Tensor
    nodes: Tensor
    hidden: Tensor


def tree_of(children: Children) -> Tree:
    """Returns the tensors of a tree."""
    first = [0]
    for node in children:
        first.append(first[-1] + len(node))
    edges, below = first[-1], [list(_classes(children, node)) for node in range(len(children))]
    found: dict[int, list[tuple[int, int]]] = {}
    _walk(children, first, 0, [], found)
    classes = range(len(found))
    depth = max(map(len, found.values()))
    hidden = [[node for node, _ in found[c] if node and min(below[node]) != c] for c in classes]
    own = [[*range(first[node], first[node + 1])] for node in range(len(children))]
    return Tree(
        edges,
        _padded(own, max(map(len, own)), edges),
        _padded([[edge for _, edge in found[c]] for c in classes], depth, edges),
        _padded([[node for node, _ in found[c]] for c in classes], depth, len(children)),
        _padded(hidden, depth, len(children)),
    )


def _classes(children: Children, node: int) -> Iterator[int]:
    for child in children[node]:
        yield from [child] if child >= 0 else _classes(children, -child)


def _walk(
    children: Children, first: list[int], node: int, path: list[tuple[int, int]], found: dict[int, list[tuple[int, int]]]
) -> None:
    """Notes the nodes and edges on the way to each class below a node."""
    for place, child in enumerate(children[node]):
        way = [*path, (node, first[node] + place)]
        if child >= 0:
            found[child] = way
        else:
            _walk(children, first, -child, way, found)


def _padded(rows: Sequence[Sequence[int]], width: int, pad: int) -> Tensor:
    return torch.tensor([[*row, *[pad] * (width - len(row))] for row in rows])


def children_of(superclasses: Mapping[str, Any] | None, names: Sequence[str]) -> Children:
    """Reads a table superclass -> its classes by name, or further superclasses. Raises ConfigError.

    names: of the classes, in order. Each class must have one superclass.
    """
    if not superclasses:
        raise ConfigError(
            "superclasses must say which classes belong together, and this data set has none: give them by name, as in "
            "'+dataset.superclasses={animals:[cat,dog],vehicles:[car,ship]}', or choose another classifier"
        )
    numbers, children, seen = {name: c for c, name in enumerate(names)}, list[list[int]](), set[str]()

    def read(content: Any, path: str) -> int:
        if not isinstance(content, (Mapping, list, tuple)) or not content:
            raise ConfigError(f"superclasses must list classes or hold further superclasses, got {content!r} for {path}")
        node, _ = len(children), children.append([])
        for name in content:
            if isinstance(content, Mapping):
                children[node].append(-read(content[name], str(name)))
            elif str(name) not in numbers:
                raise ConfigError(
                    f"superclasses must name classes of the data set, got '{name}' for {path}{did_you_mean(str(name), names)}"
                )
            elif str(name) in seen:
                raise ConfigError(f"superclasses must hold each class once, got '{name}' again for {path}")
            else:
                seen.add(str(name))
                children[node].append(numbers[str(name)])
        return node

    read(superclasses, "the root")
    if missing := [name for name in names if name not in seen]:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise ConfigError(f"superclasses must hold all classes, {', '.join(missing[:3])}{more} are missing; add them")
    return children
