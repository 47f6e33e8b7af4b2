"""The tables of augmentations composed with other methods: each cell is one command, and a sweep runs them all."""

from pathlib import Path

import pytest

from ltrun.results.record import RunRecord
from tests.support.commands import Run

TABLES = {
    "cuda_table": {(method, mix) for method in ("erm", "ldam_drw", "balanced_softmax", "ride") for mix in ("cutout", "cuda")}
}


@pytest.mark.parametrize("table", TABLES)
def test_every_cell_of_a_table_trains(ltrun: Run, tmp_path: Path, table: str) -> None:
    done = ltrun(f"experiment={table}", "dataset=digits_lt", "epochs=1", "seed=0", "runtime.pack=2")
    assert done.returncode == 0, done.stderr
    records = [RunRecord.load(path) for path in tmp_path.rglob("result.json")]
    cells = {(record.method, choice_of(record)) for record in records}
    assert cells == TABLES[table] and len(records) == len(cells)
    held = {record.config["dataset"]["validation_per_class"] for record in records}
    assert held == {0}, "a published table holds out no image"
    optimizers = {record.config["optimizer"]["weight_decay"] for record in records}
    assert len(optimizers) == 1, "all cells train by one recipe"


def choice_of(record: RunRecord) -> str:
    """The augmentation's main part."""
    return next(iter(record.config["augmentation"]["augments"]))
