"""Verdicts on ways to compute a step, and sentences that say what to switch on, from the numbers of a record.

A row is a way measured against another: `ratio`, the median over the rounds of its time over the other's; `quartiles` of the
ratios; `ms` and `reference_ms` of a step; `distance`, the largest distance of its results from the other's, where 1 is the
largest that the roundings of the precision explain; `loss`, the absolute difference of the losses. A row without numbers has an
`error`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

Row = dict[str, Any]
LAYOUT, INDUCTOR = "runtime.channels_last=false", "runtime.compile=true"
LEAST = 0.01  # no smaller gain counts, however quiet the machine
LOSS = {"fp32": 1e-3, "tf32": 1e-2, "bf16": 5e-2}  # largest allowed difference of losses after a few steps
NO_TIME, NEEDS, REFUSED = "no time was left", "needs CUDA", "refused"
GAIN = 1.1  # several runs at once are worth a process of threads if they do so many times the images of one
NEAR = 0.95  # the fewest runs at once that do this share of the most images are the choice


def noise(control: Row) -> float:
    """Returns the noise of a ratio, from a step that is measured against itself."""
    return max(LEAST, *(abs(value - 1) for value in (control["ratio"], *control["quartiles"])))


def verdict(row: Row, noise: float, precision: str) -> str:
    if "error" in row:
        return next((known for known in (NO_TIME, NEEDS, REFUSED) if row["error"].startswith(known)), "failed")
    if not (row["distance"] <= 1 and row["loss"] <= LOSS[precision]):  # nan is wrong as well
        return "wrong"
    if row["ratio"] < 1 - noise and row["quartiles"][1] < 1:
        return "faster"
    return "slower" if row["ratio"] > 1 + noise and row["quartiles"][0] > 1 else "no faster"


def greedy(alone: Mapping[str, Row], measured: Callable[[Sequence[str], Sequence[str]], Row]) -> list[str]:
    """Returns the ways that are faster together: the fastest, and in the order of their gains each that makes these faster.

    alone: rows with verdicts. measured: takes ways and fewer ways, and returns the row of the first against the second.
    """
    helpful = sorted((name for name, row in alone.items() if row["verdict"] == "faster"), key=lambda name: alone[name]["ratio"])
    kept = helpful[:1]
    for name in helpful[1:]:
        if measured([*kept, name], kept)["verdict"] == "faster":
            kept = [*kept, name]
    return kept


def words(names: Iterable[str]) -> list[str]:
    """Returns the overrides that switch ways on."""
    names = list(names)
    levers = [name for name in names if name not in (LAYOUT, INDUCTOR)]
    return [*([f"runtime.levers=[{','.join(levers)}]"] if levers else []), *(name for name in names if name not in levers)]


# ------------------------------------------------------------------------------------------------------------- sentences


def of_levers(results: Mapping[str, Any]) -> Iterator[str]:
    """Yields what to switch on, what not, and what failed, of the results of levers.py."""
    for precision, found in results.items():
        if "error" in found["control"]:
            yield f"{precision}: not measured, because the step without levers failed: {found['control']['error']}"
            continue
        yield _together(precision, found)
        rows = {name: row for name, row in found["alone"].items() if name not in found.get("kept", ())}
        for verdict in (NEEDS, NO_TIME):
            if names := [name for name, row in rows.items() if row["verdict"] == verdict]:
                yield f"{precision}: not measured, {verdict}: {', '.join(names)}"
        for name, row in rows.items():
            if row["verdict"] not in (NEEDS, NO_TIME):
                yield f"{precision}: {_alone(name, row)}"
        for row in found.get("tried", ()):
            if row["verdict"] in ("failed", "wrong"):
                yield f"{precision}: {' and '.join(row['ways'])} do not work together: {_reason(row)}"


def _together(precision: str, found: Mapping[str, Any]) -> str:
    noise = f"noise {found['noise']:.3f}"
    if "kept" not in found:
        faster = [name for name, row in found["alone"].items() if row["verdict"] == "faster"]
        return f"{precision}: cut short before ways were joined; faster alone: {', '.join(faster) or 'none so far'} ({noise})"
    if not found["kept"]:
        ms = found["control"]["ms"]
        return f"{precision}: switch nothing on; a step takes {ms:.3f} ms, and no way is right and faster ({noise})"
    row = found.get("together") or found["alone"][found["kept"][0]]
    if "error" in row:
        return f"{precision}: {' '.join(words(found['kept']))} each gain, but together: {row['error']}"
    gain = f"{row['ms']:.3f} ms a step against {row['reference_ms']:.3f}, {row['ratio']:.2f} of the time ({noise})"
    return f"{precision}: switch on {' '.join(words(found['kept']))}: {gain}"


def _alone(name: str, row: Row) -> str:
    match row["verdict"]:
        case "faster" if name == INDUCTOR:
            return (
                f"{name} alone takes {row['ratio']:.2f} of the time, {row['ms']:.3f} ms a step; set up in {row['setup']:.0f} s"
            )
        case "faster":
            return f"leave {name} out: {row['ratio']:.2f} of the time alone, no gain beside the others"
        case "no faster":
            return f"leave {name} out: {row['ratio']:.2f} of the time, within the noise"
        case "slower":
            return f"leave {name} out: slower, {row['ratio']:.2f} of the time"
        case _:
            return f"leave {name} out: {_reason(row)}"


def _reason(row: Row) -> str:
    if row["verdict"] == "wrong":
        return f"wrong numbers, {row['distance']:.3g} times what roundings explain, losses {row['loss']:.1e} apart"
    return f"it failed: {row['error']}" if row["verdict"] == "failed" else row["error"]


def of_lanes(lanes: Mapping[str, Mapping[str, Row]], device_MiB: float) -> Iterator[str]:
    """Yields the number of runs at once that each way deserves, and whether `runtime.pack=auto` should become more than one.

    lanes: way -> runs at once, as text -> row with images_per_second and peak_MiB. device_MiB: memory of the device, or 0.
    """
    best: dict[str, tuple[float, str, int]] = {}  # precision -> most images a second, by which way, and the number at once
    for way, rows in lanes.items():
        rates = {int(k): row["images_per_second"] for k, row in rows.items() if "error" not in row}
        for k, row in rows.items():
            if "error" in row:
                yield f"{way}: {k} at once {'not measured' if row['error'] == NO_TIME else 'failed'}: {row['error']}"
        if 1 not in rates or len(rates) == 1:
            continue
        most, precision = best_of(rates), way.split()[0]
        best[precision] = max(best.get(precision, (0.0, "", 1)), (rates[most], way, most))
        numbers = ", ".join(f"{k} do {rate / rates[1]:.2f} times" for k, rate in rates.items() if k > 1)
        peak = rows[str(max(rates))]["peak_MiB"]
        memory = f"; {max(rates)} take {peak:.0f} of {device_MiB:.0f} MiB" if device_MiB else ""
        yield f"{way}: one run does {rates[1]:.0f} images/s, {numbers}{memory}"
    if best:
        least = min(most for _, _, most in best.values())
        found = ", ".join(f"{most} in {way}" for _, way, most in best.values())
        yield f"runtime.pack=auto on this device should {f'become {least}' if least > 1 else 'stay 1'}: best are {found}"


def best_of(rates: Mapping[int, float]) -> int:
    """Returns the fewest runs at once with nearly the most images a second; 1 if several gain little."""
    most = max(rates.values())
    if most < GAIN * rates[1]:
        return 1
    return min(k for k, rate in rates.items() if rate >= NEAR * most)
