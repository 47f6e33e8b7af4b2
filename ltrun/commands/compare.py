"""`ltrun compare`: whether one row of the tables is better than another, with an interval and a test."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ltrun.errors import ConfigError, LtrunError
from ltrun.metrics import COMPARED, MULTI_LABEL
from ltrun.report.collect import DEFAULT, places
from ltrun.report.differences import Comparer, Comparison, check_metric
from ltrun.report.plots import check_diagram, plot_ranks
from ltrun.report.ranking import Ranking, ranking
from ltrun.report.render.common import complain, plain
from ltrun.report.render.differences import as_json, explained, lines
from ltrun.report.sides import contests

LEAST = 100  # resamples: fewer are no bootstrap


def main(argv: Sequence[str]) -> int:
    """Prints the comparison of the first row with each other on each data set that has them all; notes to standard error."""
    asked = _parser().parse_args(argv)
    told: list[str] = []
    try:
        if len(asked.rows) < 2:
            raise ConfigError("name two rows or more, such as ltrun compare ldam_drw erm")
        if asked.resamples is not None and asked.resamples < LEAST:
            raise ConfigError(f"--resamples {asked.resamples}: name {LEAST} or more")
        check_metric(asked.metric)
        if asked.diagram:
            check_diagram(asked.diagram)
        found, told, problems = contests(asked.rows, lambda: places(asked.folders), asked.metric, asked.dataset)
        if asked.resamples is not None and all(contest.table.rows[0].runs[0][0].task == MULTI_LABEL for contest in found):
            raise ConfigError("--resamples: no images are resampled for mean average precision; leave it out")
        told += [problem.text for problem in problems if problem.kind not in ("unfinished", "failed")]
        ranks = ranking(found) if asked.diagram else None
        comparer = Comparer(asked.resamples)
        made: list[Comparison] = []
        refused: list[LtrunError] = []
        for contest in found:
            try:
                made += comparer.compare(contest)
            except LtrunError as error:
                refused.append(error)
        if not made:
            raise refused[0]
        told += map(str, refused)
        _print(made, told, ranks, asked.json)
        if ranks:
            told += plot_ranks(ranks, asked.diagram)
    except LtrunError as error:
        complain([*told, f"ltrun: {error}"])
        return 1
    complain(told)
    return 0


def _print(made: Sequence[Comparison], told: Sequence[str], ranks: Ranking | None, json: bool) -> None:
    if json:
        sys.stdout.write(as_json(made, told, ranks))
        return
    for comparison in made:
        print(*map(plain, lines(comparison)), sep="\n", end="\n\n")
    print(*explained(made), *(map(plain, ranks.lines()) if ranks else ()), sep="\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "ltrun compare",
        description="Whether A is better than B: their difference on the same seeds and test images, with a 95% interval.",
    )
    parser.add_argument(
        "rows",
        nargs="+",
        metavar="ROW",
        help="a method (erm), a row's label as ltrun report prints it, a fingerprint, or a folder of runs; erm:ncm is a "
        "post-hoc row; the first is compared with each other",
    )
    parser.add_argument(
        "--in", dest="folders", action="append", default=[], type=Path, metavar="FOLDER", help=f"of the runs; {DEFAULT}"
    )
    parser.add_argument("--dataset", metavar="NAME", help="this data set only; default: each that has all rows")
    known = ", ".join(name for names in COMPARED.values() for name in names)
    parser.add_argument("--metric", metavar="NAME", help=f"{known}; default: the first of their task")
    parser.add_argument("--resamples", type=int, metavar="R", help="of one label per image; default: 10,000")
    parser.add_argument(
        "--diagram", type=Path, metavar="FILE", help="critical-difference diagram over data sets: x.svg, x.pdf or x.png"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser
