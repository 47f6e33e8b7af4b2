"""Captions of tables, and notes on their bold numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ltrun.metrics import MULTI_LABEL, Shots
from ltrun.report.table import Table
from ltrun.results.record import RunRecord
from ltrun.results.schema import POSITIVES

SELECTIONS = {"last": "last epoch", "best_val": "best epoch on the validation split"}


def caption_of(table: Table, records: list[RunRecord], by: Sequence[str]) -> str:
    """Returns the sentences of a table's caption: its metric, averages, shot groups, model and classes, or its machines."""
    measure = table.measure
    what = measure.title + (" (%)" if measure.percent else "") + ("" if measure.cost else f" on the {table.split} split")
    if any(row.n > 1 for row in table.rows):
        over = f"all n runs with the same {', '.join(by)}" if by else "n seeds"
        what += f": mean ± standard deviation (n - 1 in the denominator) over {over}"
    if measure.cost:
        return ". ".join([what, *_machines(records)]) + "."
    of_data = (_shot_groups, _absent, _labelled, _shifted, _opened)
    groups = [sentence for of_metric in of_data for sentence in of_metric(table, records)]
    return ". ".join([what, *groups, *_models(records), *_devices(records), *_sizes(records)]) + "."


def notes_on_the_best(table: Table) -> list[str]:
    """Returns why a number is bold, and which columns have no bold number and why."""
    columns: dict[str, list[str]] = {}
    for i, head in enumerate(table.columns):
        if found := table.verdict(i):
            columns.setdefault(found.kind, []).append(head)
    said = {
        "better": "bold: the best mean, if it differs from the second by more than noise (Welch's t-test over runs, p < 0.05)",
        "within noise": "not bold, because the best two differ within noise: {}",
        "equal": "not bold, because the best two are equal as printed: {}",
        "one run": "not bold, because a single run shows no noise: {}",
    }
    return [text.format(", ".join(columns[kind])) for kind, text in said.items() if kind in columns]


def _machines(records: list[RunRecord]) -> Iterator[str]:
    """Yields `Measured in fp32 on cpu, 2 threads, 2 runs at once`, with each kind of run once."""
    unknown = {"precision": "?", "device": "?", "devices": 1, "threads": "?", "at_once": 1}
    found = [unknown | dict(record.provenance) for record in records]
    kinds = {
        f"{f['precision']} on "
        + (f"{f['devices']} × " if f["devices"] != 1 else "")
        + str(f["device"])
        + (f", {f['threads']} thread{'s' * (f['threads'] != 1)}" if f["device"] == "cpu" else "")
        + (f", {f['at_once']} runs at once" if f["at_once"] != 1 else "")
        for f in found
    }
    yield "Measured in " + "; ".join(sorted(kinds))


def _shot_groups(table: Table, records: list[RunRecord]) -> Iterator[str]:
    if any(column.group for column in table.measure.columns):
        limits = {Shots.of(record.config) for record in records}
        head, tail = (" (head)", " (tail)") if records[0].task == MULTI_LABEL else ("", "")  # as the papers of each task say
        for shots in sorted(limits, key=lambda shots: (shots.many, shots.few)):
            many, few = shots.many, shots.few
            most = f"Many{head}: more than {many} training images per class"
            yield f"{most}; medium: {few} to {many}; few{tail}: fewer than {few}"


def _absent(table: Table, records: list[RunRecord]) -> Iterator[str]:
    """Yields how many classes no image of the split has, and what a mean over classes takes for them."""
    rule = table.measure.metrics[0].absent
    splits = [record.predictors[record.headline]["splits"].get(table.split, {}) for record in records]
    for absent, classes in sorted({(each.count(0), len(each)) for split in splits if (each := split.get(POSITIVES))}):
        if rule and absent:
            yield f"Classes without an image in the {table.split} split: {absent:,} of {classes:,}, {rule}"


def _labelled(table: Table, records: list[RunRecord]) -> Iterator[str]:
    """Yields the shares of the test images that are of each shot group, beside the shares of the predictions."""
    kept = (record.predictors[record.headline]["splits"].get(table.split, {}).get("labelled") for record in records)
    if table.measure.name == "predicted" and (shares := next(filter(None, kept), None)):
        told = (f"{100 * share:.1f} {group}" for group, share in shares.items() if share is not None)
        yield f"Of the test images (%): {', '.join(told)}"


def _shifted(table: Table, records: list[RunRecord]) -> Iterator[str]:
    if table.measure.name == "shifts":
        yield from shifted(records, table.split)


def shifted(records: Sequence[RunRecord], split: str) -> Iterator[str]:
    """Yields which images the test sets of other class distributions have, of records with such test sets."""
    kept = (record.predictors[record.headline]["splits"].get(split, {}).get("shifted") for record in records)
    if sets := next(filter(None, kept), None):
        yield "F-r: the class with most training images has r times the test images of the class with fewest; B-r: the reverse"
        uniform = "the whole test split" if sets["equal"] else "as many as the smallest class has, because classes differ"
        yield f"Uni: {sets['each']} images of each class, {uniform}"
        files = sets["files"]
        how = f"SADE's lists, {files[0]} to {files[-1]}" if files else "drawn as SADE draws CIFAR's"
        yield f"The images of F-r and B-r: {how}"


def _opened(table: Table, records: list[RunRecord]) -> Iterator[str]:
    """Yields how many images of other classes the predictors saw, and that rows differ in them."""
    kept = [p["splits"].get(table.split, {}).get("opened") for record in records for p in record.predictors.values()]
    sets = {each["digest"]: each["images"] for each in kept if each}
    if sets:
        differ = ", which differ between runs, so that rows cannot be compared" if len(sets) > 1 else ""
        yield f"Open images, of classes without training images: {' or '.join(f'{n:,}' for n in sets.values())}{differ}"


def _models(records: list[RunRecord]) -> Iterator[str]:
    yield "Model: " + models(records)


def models(records: Sequence[RunRecord]) -> str:
    """Returns the epoch whose network the runs keep, or the epochs: `last epoch`."""
    return " or ".join(SELECTIONS[selection] for selection in sorted({r.selection for r in records}, reverse=True))


def _devices(records: list[RunRecord]) -> Iterator[str]:
    """Yields how many devices trained a run, unless it was one: batch normalisation over fewer images is another recipe."""
    kinds, of_row = set(), dict[str, set[object]]()
    for record in records:
        devices, images = record.provenance.get("devices", 1), record.provenance.get("images_per_device", "?")
        whole = bool(record.config.get("runtime", {}).get("sync_bn"))
        over = "the whole batch" if whole else f"the {images} images of each"
        kinds.add((devices, f"{devices}, with batch normalisation over {over}" if devices != 1 else "1"))
        if not whole:
            of_row.setdefault(record.fingerprint, set()).add(images if devices != 1 else "all")
    if kinds != {(1, "1")} and records:
        mixed = " (the runs of a row differ)" if any(len(found) > 1 for found in of_row.values()) else ""
        yield "Devices of a run: " + "; ".join(text for _, text in sorted(kinds)) + mixed


def _sizes(records: list[RunRecord]) -> Iterator[str]:
    if len({tuple(record.classes["names"]) for record in records}) == 1:
        images = sorted({record.training_images for record in records if record.training_images is not None})
        shown = f"{images[0]:,}" if len(images) == 1 else f"{images[0]:,} to {images[-1]:,}" if images else ""
        yield f"{len(records[0].classes['names'])} classes" + (f", {shown} training images" if shown else "")
