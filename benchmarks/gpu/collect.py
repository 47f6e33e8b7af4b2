"""Collection of the results of a check on a GPU machine, from WORK to OUT: records, runs, tables and a summary.

    PYTHONPATH=benchmarks python benchmarks/gpu/collect.py WORK OUT

Runs after every step, so that the results are in OUT however the check ends.
"""

from __future__ import annotations

import json
import shutil
import sys
import tarfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from table import Record, markdown, tables

from ltrun.report import collect as collect_runs
from ltrun.report import tables as tables_of_runs
from ltrun.report.render import FORMATS
from ltrun.results.atomic import write_atomically

KEPT = ("result.json", "metrics.jsonl", "error.log")  # files of a run that go into the archive
RUNS = {"outputs": "Runs", "levered": "Runs with levers"}  # folder -> title; runs with levers do not count in the reproduction
EXPLAINED = (
    "*of the time*: of the step without levers, for *a + b* of the step without *b*; median, quartiles of rounds in turns. "
    "*distance*: of the results from that step's; up to 1 is rounding. *busy us*: time of a step's kernels."
)
PARTIAL = ("levers", "lanes", "ranks", "photographs", "probe")  # benchmarks whose incomplete records can be shown


def main(argv: Sequence[str] | None = None) -> int:
    work, out = (Path(word) for word in (sys.argv[1:] if argv is None else argv))
    found = work / "found"
    steps = [json.loads(line) for line in (found / "steps.jsonl").read_text().splitlines()]
    records = [json.loads(path.read_text()) for path in sorted(found.glob("*.json"))]
    presets = [record for record in records if record["benchmark"] == "presets"]
    timed = [record for record in records if record["benchmark"] not in ("presets", "reproduction")]
    bench = {"benchmark": "gpu_check", "steps": steps, "records": timed}
    write_atomically(out / "bench.json", (json.dumps(bench, indent=1) + "\n").encode())
    for path in (*found.glob("presets.json"), *found.glob("reproduction.*")):
        shutil.copyfile(path, out / path.name)
    keep([work / name for name in RUNS], out / "runs.tar.gz")
    lines = [*of_steps(steps), *advice(timed), *of_presets(presets), *of_benchmarks(timed)]
    lines += [line for name, title in RUNS.items() for line in of_runs(work / name, title)]
    write_atomically(out / "summary.md", ("\n".join(lines) + "\n").encode())
    return 0


def keep(folders: Sequence[Path], archive: Path) -> None:
    """Archives the small files of the runs in these folders."""
    if files := [path for folder in folders for path in sorted(folder.rglob("*")) if path.name in KEPT]:
        with tarfile.open(archive, "w:gz") as tar:
            for path in files:
                tar.add(path, path.relative_to(folders[0].parent))


def of_steps(steps: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield from (f"# A check of {sum(step['seconds'] for step in steps)} s", "")
    rows = [[step["step"], *(str(step[key]) for key in ("code", "seconds", "limit"))] for step in steps]
    yield from markdown(["step", "exit code", "seconds", "limit"], rows)


def advice(records: Sequence[Record]) -> Iterator[str]:
    """Yields what records of levers, lanes and ranks say to do, in this order."""
    named = [record for record in records if "advice" in record["results"]]
    ordered = sorted(named, key=lambda record: PARTIAL.index(record["benchmark"]))
    if said := [sentence for record in ordered for sentence in (*record["results"]["advice"], *unquiet(record))]:
        yield from ("", "## What to switch on", "", *(f"* {sentence}" for sentence in said))


def unquiet(record: Record) -> Iterator[str]:
    """Yields that other programs disturbed every repeat of some measurements, so that their times decide nothing."""
    sides = record["times"].values()
    if some := sum(side["disturbed"] == len(side["repeats"]) for side in sides):
        name = record["benchmark"]
        yield f"{name}: other programs disturbed every repeat of {some} of {len(sides)} measurements: measure again, alone"


def of_presets(records: Sequence[Record]) -> Iterator[str]:
    for record in records:
        yield from ("", "## Presets, replayed against eager", "")
        rows = defaultdict(list)
        for row in record["results"].get("presets", ()):
            rows[row["verdict"]].append(row)
        for verdict, those in rows.items():
            yield f"* {verdict}: {len(those)}"
            for row in (row for row in those if not row["good"]):
                yield f"  * {row['words']}: {row.get('error') or row['warnings'] or row['distances']}"[:300]


def of_benchmarks(records: Sequence[Record]) -> Iterator[str]:
    shown = [record for record in records if record["complete"] or (record["benchmark"] in PARTIAL and record["results"])]
    for lines in tables(shown):
        yield from ("", *lines)
        yield from ("", EXPLAINED) if "distance" in lines[0] else ()
    cut = [record["benchmark"] for record in records if record not in shown]
    yield from ("", f"Cut short: {', '.join(cut)}") if cut else ()


def of_runs(outputs: Path, title: str) -> Iterator[str]:
    """Yields the tables of accuracy and cost of the runs in a folder."""
    records = collect_runs([outputs])[0] if outputs.is_dir() else []
    yield from ("", f"## {title}") if records else ()
    for metric in ("accuracy", "cost") if records else ():
        yield from ("", FORMATS["markdown"](tables_of_runs(records, metric=metric)))


if __name__ == "__main__":
    sys.exit(main())
