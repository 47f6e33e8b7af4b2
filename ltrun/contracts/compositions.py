"""Table of what composes with what, from the refusals themselves.

python -m ltrun.contracts.compositions >ltrun/report/compositions.md        # part of `make pages`
"""

from __future__ import annotations

from typing import cast

from ltrun.contracts.assembly import Assembly
from ltrun.contracts.library import Choice, Composed, Library, Picked
from ltrun.errors import ConfigError
from ltrun.taxonomy import SLOTS

ROWS = ("ensemble",)  # slots whose options bring networks and losses of their own


class Assembled(Library):
    """A library that puts options of slots together without Hydra."""

    def __init__(self, library: Library) -> None:
        super().__init__(library.folders, library.plugins)
        self.assembly = Assembly(library)

    def put_together(self, picked: Picked, task: str | None = None) -> Composed:
        return self.assembly.put_together(picked, task)

    def binds(self, picked: Picked) -> bool:
        try:
            self.bound(self.put_together(picked))
        except ConfigError:
            return False
        return True


def fits(one: Choice, other: Choice) -> bool:
    """Whether two options compose, with the options of further slots that either needs, such as a cosine classifier."""
    taken = {one.group: one.name, other.group: other.name}
    try:
        ways = [{**one.picked, **other.picked, **taken}, {**other.picked, **one.picked, **taken}]
    except ConfigError:  # an option that binds with no companion
        return False
    library = cast(Assembled, one.library)
    return any(library.binds(way) for way in ways[: 1 if ways[0] == ways[1] else 2])


def table(library: Assembled) -> str:
    """Returns a Markdown table: an option of `ROWS`, and for each other slot the options that it composes with."""
    slots = [slot for slot in SLOTS if slot not in ROWS]
    lines = [["Option", *slots], [":--"] * (1 + len(slots))]
    for group in ROWS:
        for name in library.options[group]:
            if name != "none":
                one = Choice(library, group, name)
                lines.append([f"`{group}={name}`", *(_cell(one, slot) for slot in slots)])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def _cell(one: Choice, slot: str) -> str:
    """Returns 'all', 'all but ...' or the few options of a slot that an option composes with."""
    names = [name for name in one.library.options[slot] if name != "none"]
    allowed = [name for name in names if fits(one, Choice(one.library, slot, name))]
    refused = [name for name in names if name not in allowed]
    if not refused:
        return "all"
    if not allowed:
        return "none"
    shorter, said = (refused, "all but ") if len(refused) <= len(allowed) else (allowed, "")
    return said + ", ".join(f"`{name}`" for name in shorter)


if __name__ == "__main__":
    print(table(Assembled(Library())), end="")
