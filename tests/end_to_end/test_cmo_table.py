"""The table of CMO composed with other methods: each cell is one command, and one sweep runs them all."""

from pathlib import Path

from ltrun.results.record import RunRecord
from tests.support.commands import Run

BASELINES = {"erm", "balanced_softmax", "ldam_drw", "ride"}


def test_every_cell_of_the_table_trains(ltrun: Run, tmp_path: Path) -> None:
    done = ltrun("experiment=cmo_table", "dataset=digits_lt", "epochs=1", "seed=0", "runtime.pack=2")
    assert done.returncode == 0, done.stderr
    records = [RunRecord.load(path) for path in tmp_path.rglob("result.json")]
    cells = {(record.method, "cmo" in record.config["augmentation"].get("mixers", {})): record.config for record in records}
    assert cells.keys() == {(name, False) for name in BASELINES} | {(name, True) for name in BASELINES}
    assert len(records) == 8
    for method in BASELINES:  # a baseline is its cell without CMO
        with_cmo, without = cells[method, True], cells[method, False]
        for group in ("optimizer", "schedule", "reweighting", "margin", "logit_adjustment", "ensemble", "classifier"):
            assert with_cmo[group] == without[group]
        assert with_cmo["augmentation"].get("augments") == without["augmentation"].get("augments")
    held = {record.config["dataset"]["validation_per_class"] for record in records}
    assert held == {0}, "a published table holds out no image"
