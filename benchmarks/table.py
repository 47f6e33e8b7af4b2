"""Markdown tables of recorded benchmarks, as in the documents: `python benchmarks/table.py benchmarks/results`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

Record = Mapping[str, Any]
PACKED = {"images_per_second": 0, "times_one_run": 2, "overlap": 2}  # key -> decimal places
MOST = 1.15  # of a method's step over what its forward and backward passes explain
PROBED = {"ms": 3, "host_ms": 3, "kernels": 0, "busy_us": 0}  # key -> decimal places


def main(argv: Sequence[str] | None = None) -> int:
    folders = [Path(word) for word in (sys.argv[1:] if argv is None else argv)] or [Path(__file__).parent / "results"]
    records = [record for folder in folders for path in sorted(folder.glob("*.json")) for record in recorded(path)]
    for lines in tables([record for record in records if finished(record)]):
        print("\n".join(lines), end="\n\n")
    return 0


def recorded(path: Path) -> list[Record]:
    """Returns the records of a file: one, several from a check on a GPU machine (gpu/collect.py), none of a reproduction."""
    content = json.loads(path.read_text())
    if content["benchmark"] == "reproduction":
        return []
    return content["records"] if content["benchmark"] == "gpu_check" else [content]


def tables(records: Sequence[Record]) -> Iterator[list[str]]:
    """Yields the lines of a table for each kind of record that has a table."""
    for name, table in TABLES.items():
        if chosen := [record for record in records if record["benchmark"] == name]:
            yield table(chosen)


def finished(record: Record) -> bool:
    return record["complete"] and not record["settings"]["smoke"]


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [header, [":--", *["--:"] * (len(header) - 1)], *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def where(record: Record) -> str:
    """Returns device and setting of a row; threads only on a CPU."""
    settings, cuda = record["settings"], record["device"] != record["cpu"]
    threads = "" if cuda else f", {record['threads']} thread{'s' * (record['threads'] > 1)}"
    compiled = "" if settings["compile"] == "auto" else f", compile={settings['compile']}"
    return f"{record['device']}{threads}, {settings['precision']}{compiled}"


def noted(record: Record) -> list[str]:
    """Returns the last cells of a row: repeats and how many were set aside, version, date."""
    sides, version = record["times"].values(), record["versions"]["torch"].partition("+")[0]
    if not sides:  # the benchmark was cut short before any comparison
        return ["–", version, record["date"]]
    n, disturbed = min(side["n"] for side in sides), sum(side["disturbed"] for side in sides)
    noisy = any(side["disturbed"] == len(side["repeats"]) for side in sides)
    return ["none quiet" if noisy else f"{n} ({disturbed})", version, record["date"]]


def steps(records: Sequence[Record]) -> list[str]:
    header = ["", "plain loop", "ltrun", "train", "epoch", "run", "a whole run", "n (set aside)", "torch", "date"]
    rows = []
    for record in records:
        found = record["results"]
        seconds = (
            f"{found[f'{side}_train_seconds']:.2f} + {found[f'{side}_evaluation_seconds']:.2f} s" for side in ("plain", "ltrun")
        )
        ratios = (f"**{found[name]:.2f}**" for name in ("train", "epoch", "run"))
        run = found.get("run_command")
        whole = f"{run['wall_seconds']:.1f} s, {run['epochs']} epochs" if run else "–"
        rows.append([where(record), *seconds, *ratios, whole, *noted(record)])
    return markdown(header, rows)


def levers(records: Sequence[Record]) -> list[str]:
    rows = []
    for record in records:
        for kind in ("train", "evaluation"):
            found = record["results"][kind]
            rows.append([f"{where(record)}: {kind}", f"{found['all']:.2f}", "", *noted(record)])
            for lever in dict.fromkeys(key.split()[0] for key in found if key != "all"):
                cells = (f"{found[key]:.2f}" if (key := f"{lever} {what}") in found else "–" for what in ("alone", "left out"))
                rows.append([lever, *cells, "", "", ""])
    return markdown(["", "alone, or all", "left out", "n (set aside)", "torch", "date"], rows)


def floors(records: Sequence[Record]) -> list[str]:
    rows = []
    for record in records:
        found = record["results"]
        rows.append([where(record), f"{1000 * found['step_seconds']:.3g} ms", "", *noted(record)])
        for name, seconds in found["floor_seconds"].items():
            rows.append([name, f"{1000 * seconds:.3g} ms", f"{found['share'][name]:.0%}", "", "", ""])
    return markdown(["", "time", "share reached", "n (set aside)", "torch", "date"], rows)


def packs(records: Sequence[Record]) -> list[str]:
    rows = [
        [f"{where(record)}: {side}", *(f"{found[name]:.{digits}f}" for name, digits in PACKED.items()), *noted(record)]
        for record in records
        for side, found in record["results"]["sides"].items()
    ]
    return markdown(["", "images/s", "times one run", "overlap", "n (set aside)", "torch", "date"], rows)


def methods(records: Sequence[Record]) -> list[str]:
    lines: list[str] = []
    for record in records:
        rows = [
            [
                name,
                f"{found['step']:.2f}",
                *beyond(found),
                f"{found['run']:.2f}",
                f"{found['peak_memory_bytes'] / 2**20:.0f} MiB",
            ]
            for name, found in record["results"]["methods"].items()
        ]
        lines += [*markdown([where(record), "step", "explained", "above", "run", "peak memory"], rows), ""]
    return lines


def beyond(found: Record) -> list[str]:
    """Returns what a method's passes explain of its step, and the rest as a factor, bold above MOST; old records lack both."""
    if "above" not in found:
        return ["–", "–"]
    above = f"{found['above']:.2f}"
    return [f"{found['explained']:.2f}", f"**{above}**" if found["above"] > MOST else above]


def startups(records: Sequence[Record]) -> list[str]:
    names = list(dict.fromkeys(name for record in records for name in record["results"]["seconds"]))
    rows = [[where(r), *(f"{r['results']['seconds'][name]:.2f} s" for name in names), *noted(r)] for r in records]
    return markdown(["", *names, "n (set aside)", "torch", "date"], rows)


def images(records: Sequence[Record]) -> list[str]:
    costs = [record["results"]["microseconds_an_image"] for record in records]
    names = list(dict.fromkeys(name for cost in costs for name in cost))
    cells = [[f"{cost[name]:.0f}" if name in cost else "–" for name in names] for cost in costs]  # older records have no crops
    rows = [[where(record), *some, *noted(record)] for record, some in zip(records, cells, strict=True)]
    return markdown(["microseconds per image", *names, "n (set aside)", "torch", "date"], rows)


def augmentations(records: Sequence[Record]) -> list[str]:
    """Returns the table of augmentations of a batch: ltrun's time, its share of a training step, and Pillow's time over it."""
    rows = []
    for record in records:
        cost, shares = (record["results"][key] for key in ("milliseconds_a_batch", "shares"))
        rows.append([f"{where(record)}: the step", f"{cost['step']:.0f}", "100 %", "–"])
        for name, share in shares.items():
            rows.append([name, f"{cost[name]:.2f}", f"{100 * share:.1f} %", f"{cost[f'{name}, Pillow'] / cost[name]:.1f}"])
    return markdown(["", "ms per batch", "of the step", "Pillow's time / ltrun's"], rows)


def ways(records: Sequence[Record]) -> list[str]:
    """Returns the table of the ways to compute a step on CUDA."""
    rows = []
    for record in records:
        for name, found in record["results"]["ways"].items():
            numbers = [f"{found[key]:.{digits}f}" if key in found else "–" for key, digits in PROBED.items()]
            groups = ", ".join(f"{group} {total:.0f}" for group, total in found.get("groups_us", {}).items())
            said = found.get("error", groups)[:300].replace("\n", " ")
            rows.append([f"{record['device']}, {name}", *numbers, said])
    return markdown(["", "ms per step", "host ms", "kernels", "busy us", "us by group"], rows)


def captured_levers(records: Sequence[Record]) -> list[str]:
    """Returns the table of the levers of a captured step: gpu/levers.py."""
    rows = []
    for record in records:
        for precision, found in record["results"]["precisions"].items():
            noise = f"noise {found['noise']:.3f}"
            rows.append([f"{record['device']}, {precision}: the step without levers", *measured(found["control"]), noise])
            joined = [(" + ".join(row["ways"]), row) for row in found.get("tried", ())]
            whole = [(f"all: {' + '.join(found['kept'])}", found["together"])] if "together" in found else []
            for name, row in (*found["alone"].items(), *joined, *whole):
                rows.append([name, *measured(row), row["verdict"]])
    return markdown(["", "ms per step", "of the time", "distance", "kernels", "busy us", ""], rows)


def measured(row: Mapping[str, Any]) -> list[str]:
    """Returns the cells of a way's numbers."""
    if "error" in row:
        why = "–" if row.get("verdict") == "needs CUDA" else cell(row["error"])  # the last cell says so
        return ["–", why, "–", "–", "–"]
    first, third = row["quartiles"]
    counted = [f"{row[key]:.0f}" if key in row else "–" for key in ("kernels", "busy_us")]
    return [f"{row['ms']:.3f}", f"{row['ratio']:.3f} ({first:.3f} to {third:.3f})", f"{row['distance']:.2f}", *counted]


def cell(error: str) -> str:
    """Returns an error as one short cell."""
    return error[:160].replace("\n", " ").replace("|", "/")


def lanes(records: Sequence[Record]) -> list[str]:
    """Returns the table of runs that share a GPU as lanes: gpu/lanes.py."""
    rows = []
    for record in records:
        for way, found in record["results"]["lanes"].items():
            for k, row in found.items():
                name, one = f"{record['device']}, {way}: {k} at once", found["1"].get("images_per_second")
                rate = row.get("images_per_second")
                times = f"{rate / one:.2f}" if rate and one else "–"
                peak = f"{row['peak_MiB']:.0f} MiB" if rate else "–"
                rows.append([name, f"{rate:.0f}" if rate else cell(row["error"]), times, peak])
    return markdown(["", "images/s", "times one run", "peak memory"], rows)


def ranks(records: Sequence[Record]) -> list[str]:
    """Returns the table of losses on ranks that share a GPU: gpu/ranks.py."""
    rows = [
        [f"{record['device']}, {name}", ", ".join(f"{loss:.4f}" for loss in row.get("losses", ())) or cell(row["error"])]
        for record in records
        for name, row in record["results"]["ranks"].items()
    ]
    return markdown(["", "loss of each epoch"], rows)


TABLES = {
    "step": steps, "ablation": levers, "floor": floors, "pack": packs, "methods": methods, "startup": startups, "data": images,
    "augmentation": augmentations,
    "probe": ways, "levers": captured_levers, "lanes": lanes, "ranks": ranks,
}  # fmt: skip

if __name__ == "__main__":
    sys.exit(main())
