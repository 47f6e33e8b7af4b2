"""The reproduction on CIFAR100-LT: published bands beside our own runs, and whether the methods come in the published order.

    python benchmarks/gpu_table.py --data data --time 540

Trains what is missing, seed by seed, and stops before the time is over; the same command goes on. benchmarks/results/ then
holds a table, and its numbers with the records of the runs. Those records are all that the next call needs: on another machine
it trains none of them again. Words such as epochs=1 change the recipe, and have tables of their own; those of runtime say how
it is computed, and the table names device and precision.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ltrun.config import catalogue
from ltrun.errors import LtrunError
from ltrun.report import Cell, Row, collect, tables
from ltrun.report.render.common import number
from ltrun.results.address import address
from ltrun.results.atomic import write_atomically
from ltrun.results.record import RunRecord

HERE = Path(__file__).resolve().parent
GRACE = 15  # seconds before the limit in which running epochs are given up and the table is written
NOT_RUN = "not yet run"


def main() -> int:
    published = literature()
    asked = _parser(published).parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever ends this ends the sweep, and has the table
    recipe = [word for word in asked.words if not word.startswith("runtime.")]
    changes = [*([f"dataset={asked.dataset}"] if asked.dataset != published["dataset"] else []), *recipe]
    name = re.sub(r"[^\w.-]+", "_", "-".join(["gpu_table", *changes]))
    outputs = Path("outputs") / name
    shown, kept = (asked.results / f"{name}.{kind}" for kind in ("md", "json"))  # the name itself may have dots
    try:
        _restore(kept, outputs)
        try:
            code = _train(asked, outputs)
        finally:  # also after an interrupt: what is done is kept
            records = _newest(collect([outputs])[0]) if outputs.is_dir() else []
            made = summary(published, records, asked.methods, changes)
            write_atomically(shown, markdown(made).encode())
            write_atomically(kept, (_one_run_a_line(made, records) + "\n").encode())
    except LtrunError as error:
        print(f"gpu_table: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        code = 130
    done = sum(record.method in asked.methods and str(record.seed) in asked.seeds for record in records)
    wanted = len(asked.methods) * len(asked.seeds)
    rest = "" if done == wanted else "; what failed is above" if code else "; the same command goes on"
    print(f"{shown}: {done} of {wanted} runs are done{rest}")
    return code


def literature() -> dict[str, Any]:
    """published.json, with the band of each method, which the header of its preset states."""
    published: dict[str, Any] = json.loads((HERE / "published.json").read_text())
    bands = {option.name: option.band for option in catalogue.options("method")}
    for name, said in published["methods"].items():
        said["band"] = bands[name]
    return published


def _parser(published: Mapping[str, Any]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="data", metavar="DIR", help="an export, or all of CIFAR-100; default: data")
    parser.add_argument("--dataset", default=published["dataset"], help=f"default: {published['dataset']}")
    parser.add_argument("--methods", type=str.split, default=list(published["methods"]), help="default: all with a band")
    parser.add_argument("--seeds", type=str.split, default=["0", "1", "2"], help="default: '0 1 2'")
    parser.add_argument("--device", default="auto", help="default: auto")
    parser.add_argument("--pack", help="runs at once (runtime.pack)")
    parser.add_argument("--time", type=float, metavar="SECONDS", help="stop before so many have passed")
    parser.add_argument("--results", type=Path, default=HERE / "results", metavar="DIR")
    parser.add_argument("words", nargs="*", metavar="KEY=VALUE", help="changes of the recipe, such as epochs=1")
    return parser


def _restore(file: Path, outputs: Path) -> None:
    """Puts the recorded runs where ltrun looks for results, so that it skips them."""
    if not file.exists():
        return
    lost = 0
    for run in json.loads(file.read_text())["runs"]:
        try:
            record = RunRecord(**run)
            folder = address(outputs, record.dataset, record.method, record.fingerprint, record.seed)
            if not (folder / "result.json").exists():
                record.save(folder)
        except (TypeError, ValueError):
            lost += 1
    if lost:
        print(f"{file}: {lost} runs were recorded by another version of ltrun and count no more", file=sys.stderr)


def _train(asked: argparse.Namespace, outputs: Path) -> int:
    """The sweep, in a process group of its own, which is interrupted when the time is nearly over."""
    words = [f"seed={','.join(asked.seeds)}", f"method={','.join(asked.methods)}", f"dataset={asked.dataset}"]
    words += [f"runtime.pack={asked.pack}"] if asked.pack else []
    words += [f"runtime.device={asked.device}", *asked.words]
    places = {"LTRUN_OUTPUTS": str(outputs), "LTRUN_DATA": asked.data}
    command = [sys.executable, "-P", "-m", "ltrun", "-m", *words]  # -P: the ltrun that is installed, not that of a checkout
    sweep = subprocess.Popen(command, env=os.environ | places, start_new_session=True)
    try:
        return sweep.wait(None if asked.time is None else max(asked.time - GRACE, 1))
    except subprocess.TimeoutExpired:
        return 0
    finally:
        _stop(sweep)


def _stop(sweep: subprocess.Popen[bytes]) -> None:
    """A run that is killed loses the epoch that it is in, nothing else."""
    if sweep.poll() is not None:
        return
    for number_of_signal, patience in ((signal.SIGINT, GRACE / 2), (signal.SIGKILL, None)):
        with suppress(ProcessLookupError):
            os.killpg(sweep.pid, number_of_signal)
        with suppress(subprocess.TimeoutExpired):
            sweep.wait(patience)


def _newest(records: Sequence[RunRecord]) -> list[RunRecord]:
    """Of each method the runs with the configuration of the latest: what an older ltrun meant by it is not averaged in."""
    latest = {r.method: r.fingerprint for r in sorted(records, key=lambda record: str(record.provenance.get("date")))}
    return [record for record in records if record.fingerprint == latest[record.method]]


# ---------------------------------------------------------------------------------------------------------------- results


def summary(
    published: Mapping[str, Any], records: Sequence[RunRecord], methods: Sequence[str], changes: Sequence[str]
) -> dict[str, Any]:
    """What the tables say, without the runs. Methods that were never run have rows too."""
    found = _rows(records)
    names = list(dict.fromkeys([*published["methods"], *methods, *found]))
    origins = [record.provenance for record in records]
    versions = [origin.get("versions", {}) for origin in origins]
    rows = [_entry(name, published["methods"].get(name, {}), found.get(name), not changes) for name in names]
    return {
        "benchmark": "gpu_table",
        "complete": all(row["n"] for row in rows),
        "settings": {"changes": list(changes), "smoke": bool(changes)},
        "what": published["what"],
        "source": published["source"],
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        **{key: _values(origins, key) for key in ("device", "precision", "at_once", "commit")},
        "versions": {package: _values(versions, package) for package in ("ltrun", "torch", "python")},
        "rows": rows,
        "about": published["about"],
        "checks": [_checked(check, found, published["about"]) for check in published["checks"]],
    }


def _values(mappings: Sequence[Mapping[str, Any]], key: str) -> list[str]:
    return sorted({str(mapping[key]) for mapping in mappings if key in mapping})


def _rows(records: Sequence[RunRecord]) -> dict[str, Row]:
    """Method -> the row of the predictor that stands for it."""
    rows = [row for table in tables(records) for row in table.rows] if records else []
    return {row.runs[0][0].method: row for row in rows if row.runs[0][1] == row.runs[0][0].headline}


def _entry(name: str, band: Mapping[str, Any], row: Row | None, as_published: bool) -> dict[str, Any]:
    entry = {"method": name, "band": band.get("band"), "from": band.get("from", ""), "n": row.n if row else 0}
    if row is None:
        return entry | {"verdict": NOT_RUN}
    groups = {
        group: {"mean": cell.mean, "std": cell.std, "shown": number(cell, row)}
        for group, cell in zip(("all", "many", "medium", "few"), row.cells, strict=True)
    }
    seconds = statistics.median(sum(stage["seconds"] for stage in record.stages) for record, _ in row.runs)
    verdict = _verdict(row.cells[0], band) if as_published else ""
    return entry | groups | {"saw_test_inputs": row.saw_test, "seconds": seconds, "verdict": verdict}


def _verdict(cell: Cell, band: Mapping[str, Any]) -> str:
    """The printed mean against the band."""
    if not band.get("band") or cell.mean is None:
        return ""
    low, high = band["band"]
    mean = round(cell.mean, 1)
    return "below" if mean < low else "above" if mean > high else "inside"


def _checked(check: Sequence[str], found: Mapping[str, Row], about: float) -> dict[str, Any]:
    """One of the orders in which the literature has the methods, by their means. about: what ~ allows, in points."""
    one, relation, other = check
    means = [found[name].cells[0].mean if name in found else None for name in (one, other)]
    entry = {"check": f"{one} {relation} {other}", "means": means}
    if means[0] is None or means[1] is None:
        return entry | {"verdict": NOT_RUN}
    gap = means[1] - means[0]
    holds = {"<": gap > 0, "<=": gap >= 0, "~": abs(gap) <= about}[relation]
    return entry | {"verdict": "holds" if holds else "fails"}


def _one_run_a_line(made: Mapping[str, Any], records: Sequence[RunRecord]) -> str:
    """JSON whose history can be read: a line for each run, without the folders of the machine."""
    runs = ",\n".join(
        json.dumps(record.content() | {"config": _anywhere(record.config)}, separators=(",", ":")) for record in records
    )
    return json.dumps(made, indent=1)[:-2] + f',\n "runs": [\n{runs}\n ]\n}}'


def _anywhere(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with the usual folders, which are no part of an address."""
    return {**config, "outputs": "outputs", "dataset": {**config["dataset"], "root": "data"}}


def markdown(made: Mapping[str, Any]) -> str:
    return "\n".join(_lines(made)) + "\n"


def _lines(made: Mapping[str, Any]) -> Iterator[str]:
    yield from ("# CIFAR100-LT: published and ours", "")
    if changes := made["settings"]["changes"]:
        yield from (f"**Not the published recipe: {' '.join(changes)}.** The bands are not meant for it.", "")
    yield from (f"{made['what']}. Ours: mean ± standard deviation (n - 1 in the denominator) over n seeds.", "")
    versions = [f"{package} {' and '.join(found)}" for package, found in made["versions"].items() if found]
    shared = [f"{' or '.join(made['at_once'])} runs at once"] if made.get("at_once", ["1"]) != ["1"] else []
    facts = [*made["device"], *made["precision"], *shared, *versions, *(f"commit {commit[:12]}" for commit in made["commit"])]
    yield from (f"{made['date'][:10]}; {', '.join(facts)}." if made["device"] else "Nothing was run yet.", "")
    yield "| Method | Published | Ours | Many | Medium | Few | n | Against the band | Seconds a run |"
    yield "| :-- | --: | --: | --: | --: | --: | --: | :-- | --: |"
    for row in made["rows"]:
        band = "{:g} to {:g}".format(*row["band"]) if row["band"] else "–"
        groups = [row[group]["shown"] if group in row else "–" for group in ("all", "many", "medium", "few")]
        dagger = " †" if row.get("saw_test_inputs") else ""
        seconds = f"{row['seconds']:.0f}" if "seconds" in row else "–"
        cells = [row["method"] + dagger, band, *groups, str(row["n"]), row["verdict"] or "–", seconds]
        yield f"| {' | '.join(cells)} |"
    if any(row.get("saw_test_inputs") for row in made["rows"]):
        yield from ("", "† saw test inputs")
    yield from ("", made["source"], "", f"'about' is within {made['about']} points.", "")
    yield from ("| Order in the literature | Ours | |", "| :-- | :-- | :-- |")
    for check in made["checks"]:
        means = " and ".join("–" if mean is None else f"{mean:.1f}" for mean in check["means"])
        yield f"| {check['check'].replace('<', '&lt;').replace('~', 'about')} | {means} | {check['verdict']} |"


if __name__ == "__main__":
    sys.exit(main())
