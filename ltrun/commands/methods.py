"""`ltrun methods`: every option that can be composed, with its citation."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ltrun import streams
from ltrun.config.catalogue import (
    Option,
    groups,
    options,
)
from ltrun.errors import LtrunError

HEADINGS = {"method": "methods: one recipe a paper, ltrun method=NAME"}


def main(argv: Sequence[str]) -> int:
    """`ltrun methods [GROUP ...]`: everything that can be composed, by family, with citation.

    The name of an option is handed on to `ltrun show`.
    """
    parser = argparse.ArgumentParser("ltrun methods", description="List every method and option with its citation.")
    parser.add_argument("groups", nargs="*", metavar="GROUP", help="only these, such as margin or method")
    parser.add_argument("--config-dir", type=Path, action="append", default=[], metavar="DIR", help="options of your own")
    asked = parser.parse_args(argv)
    try:
        if any(name not in groups(asked.config_dir) for name in asked.groups):
            from ltrun.commands.show import main as show

            return show([*asked.groups, *(word for folder in asked.config_dir for word in ("--config-dir", str(folder)))])
        chosen = {group: options(group, asked.config_dir) for group in asked.groups or groups(asked.config_dir)}
    except LtrunError as error:
        print(f"ltrun: {error}", file=sys.stderr)
        return 1
    _show(chosen)
    return 0


def _show(chosen: dict[str, list[Option]]) -> None:
    width = max((len(option.name) for listed in chosen.values() for option in listed), default=0)
    if not sys.stdout.isatty():  # a line an option, for grep
        for group, listed in chosen.items():
            print(HEADINGS.get(group, group))
            for option in listed:
                cited = f" ({option.citation})" if option.citation else ""
                print(f"  {option.name:<{width}}  {option.summary}{cited}".rstrip())
        return
    from rich.table import Table
    from rich.text import Text

    console = streams.console()
    for group, listed in chosen.items():
        table = Table(title=Text(HEADINGS.get(group, group), style="bold"), title_justify="left", box=None, show_header=False)
        table.add_column(no_wrap=True, style="cyan", min_width=width)
        table.add_column(overflow="fold")
        table.add_column(overflow="fold", style="dim")
        for option in listed:
            table.add_row(*(Text(part) for part in (option.name, option.summary, option.citation)))
        console.print(table)
        console.print()
