"""`ltrun methods`: every option that can be composed, with its citation; also as the Markdown page of docs/methods.md."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ltrun import streams
from ltrun.config.catalogue import Option, groups, options
from ltrun.errors import ConfigError, DataError, LtrunError

if TYPE_CHECKING:
    from ltrun.results.record import RunRecord

HEADINGS = {"method": "methods: one recipe a paper, ltrun method=NAME"}
WRONG = ("damaged", "unknown", "unreadable")  # kinds of problems for which a folder of records is refused


def main(argv: Sequence[str]) -> int:
    """`ltrun methods [GROUP ...]`: lists every option by group, with its citation.

    The name of an option is handed on to `ltrun show`.
    """
    asked = _parser().parse_args(argv)
    try:
        if asked.records and not asked.markdown:
            raise ConfigError("--records fills a column of the Markdown page: add --markdown")
        unknown = [name for name in asked.groups if name not in groups(asked.config_dir)]
        if asked.markdown:
            for name in unknown:
                options(name, asked.config_dir)  # says which group is near
            sys.stdout.write(_markdown(asked))
            return 0
        if unknown:
            from ltrun.commands.show import main as show

            return show([*asked.groups, *(word for folder in asked.config_dir for word in ("--config-dir", str(folder)))])
        chosen = {group: options(group, asked.config_dir) for group in asked.groups or groups(asked.config_dir)}
    except LtrunError as error:
        print(f"ltrun: {error}", file=sys.stderr)
        return 1
    _show(chosen)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("ltrun methods", description="List every method and option with its citation.")
    parser.add_argument("groups", nargs="*", metavar="GROUP", help="only these, such as margin or method")
    parser.add_argument("--config-dir", type=Path, action="append", default=[], metavar="DIR", help="options of your own")
    parser.add_argument("--markdown", action="store_true", help="print the page docs/methods.md, or tables of the groups")
    parser.add_argument(
        "--records",
        type=Path,
        action="append",
        default=[],
        metavar="PLACE",
        help="fill the page's column 'Ours' from a reproduction.json, a result.json or a folder of runs; may be given again",
    )
    return parser


def _markdown(asked: argparse.Namespace) -> str:
    """Returns the page, or the tables of some groups. Raises LtrunError."""
    from ltrun.report.methods_page import methods_page, tables_of
    from ltrun.report.recipes_page import recipe_tables

    more = asked.config_dir
    ours, states = _ours(_records(asked.records), more) if asked.records else (None, {})
    return tables_of(asked.groups, more, ours) if asked.groups else methods_page(more, ours, large=recipe_tables(states, more))


def _ours(records: Sequence[RunRecord], more: Sequence[Path]) -> tuple[dict[str, str], dict[tuple[str, str], str]]:
    """Returns preset -> mean accuracy of its runs, and (preset, data set) -> that of runs of a recipe. Raises LtrunError."""
    from ltrun.config.presets import composing
    from ltrun.config.published import recipes
    from ltrun.report.preset_runs import accuracies, states

    with composing(more):
        presets = [option.name for option in options("method", more)]
        return accuracies(records, presets, more), states(records, recipes(more))


def _records(places: Sequence[Path]) -> list[RunRecord]:
    """Returns the finished runs in files and folders. Raises DataError for a place without any, and for a damaged one."""
    from ltrun.report.records import records_at

    records = []
    for place in places:
        found, problems = records_at(place)
        if wrong := [problem.text for problem in problems if problem.kind in WRONG]:
            raise DataError("; ".join(wrong))
        if not found:
            raise DataError(f"{place} has no finished run: name a reproduction.json, a result.json or a folder of runs")
        records += found
    return records


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
