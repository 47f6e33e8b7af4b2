"""Cases that are drawn, because a walk through all of them takes hours: `make test CASES=all` takes them all.

The draw has a seed, so that a failure comes back; LTRUN_DRAW=SEED walks another share, and a session ends with the seed.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import TypeVar

Case = TypeVar("Case")
Picked = dict[str, str]  # slot -> option

ALL = os.environ.get("LTRUN_CASES") == "all"
DRAW = os.environ.get("LTRUN_DRAW") or "0"
TRIES = 4  # options of a slot that are tried before it is left alone


def drawn(cases: Sequence[Case], most: int) -> list[Case]:
    """Returns at most `most` of the cases, in their order; with CASES=all it returns them all."""
    if ALL or len(cases) <= most:
        return list(cases)
    return [cases[place] for place in sorted(random.Random(DRAW).sample(range(len(cases)), most))]


def shares(levels: Mapping[str, Sequence[str]], number: int) -> list[list[tuple[str, str]]]:
    """Deals all (slot, option) out into `number` shares, so that options of one slot lie apart."""
    dealt = [(slot, option) for slot in sorted(levels) for option in levels[slot]]
    return [dealt[place::number] for place in range(number)]


def spread(
    levels: Mapping[str, Sequence[str]], wanted: Sequence[tuple[str, str]], allowed: Callable[[Picked], bool]
) -> list[Picked]:
    """Returns few combinations, as full as is allowed, that contain all wanted options.

    Each starts from an option not yet contained, and takes in each other slot the first allowed of some options, those not yet
    contained before others. Raises ValueError for an option that no second option makes valid.
    """
    draw = random.Random(str(wanted))
    missing = list(wanted)
    rows: list[Picked] = []
    while missing:
        row = dict(missing[:1])
        if not allowed(row):
            row |= _companion(row, levels, allowed, draw)
        for slot in draw.sample(sorted(levels.keys() - row), len(levels) - len(row)):
            first = [option for of, option in missing if of == slot]
            options = first + draw.sample([*levels[slot]], len(levels[slot]))
            row |= next(({slot: option} for option in options[:TRIES] if allowed(row | {slot: option})), {})
        rows.append(row)
        missing = [pair for pair in missing if pair not in row.items()]
    return rows


def _companion(
    row: Picked, levels: Mapping[str, Sequence[str]], allowed: Callable[[Picked], bool], draw: random.Random
) -> Picked:
    """Returns a second option with which the option of a row is allowed."""
    others = [{slot: option} for slot in levels.keys() - row for option in levels[slot]]
    for other in draw.sample(sorted(others, key=str), len(others)):
        if allowed(row | other):
            return other
    raise ValueError(f"no option makes {row} valid")


def covering(levels: Mapping[str, Sequence[str]], allowed: Callable[[Picked], bool]) -> list[Picked]:
    """Returns few combinations that contain every pair of options of two slots that is allowed with the defaults.

    Greedy: starts from a pair not yet covered and adds, slot by slot, the option that covers most new pairs.
    """
    pairs = {
        frozenset([(a, x), (b, y)])
        for a, b in combinations(levels, 2)
        for x in levels[a]
        for y in levels[b]
        if allowed({a: x, b: y})
    }
    rows: list[Picked] = []
    while pairs:
        row = dict(sorted(min(pairs, key=sorted)))
        for slot in sorted(levels, key=lambda name: -len(levels[name])):
            if slot in row:
                continue
            gains = {
                option: sum(frozenset([(slot, option), other]) in pairs for other in row.items()) for option in levels[slot]
            }
            for option in sorted(gains, key=lambda name: -gains[name]):
                if allowed(row | {slot: option}):
                    row[slot] = option
                    break
        rows.append(row)
        pairs -= {frozenset(pair) for pair in combinations(row.items(), 2)}
    return rows
