"""Runs on a table of images and on Parquet files: trained, reported, done before; a renamed argument; a bad row."""

from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from ltrun.results.address import RESULT
from ltrun.results.record import RunRecord
from tests.support.commands import Run, refused
from tests.support.data_fakes import class_folders, encoded, random_images

SMALL = ("method=erm", "dataset.image_size=16", "network=resnet8", "batch_size=16", "epochs=1", "dataset.workers=1")
COUNTS = {"ant": 24, "bee": 12, "cat": 6}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """photos/<class>/*.png and photos/labels.tsv, with a name that holds a comma and classes as numbers."""
    class_folders(tmp_path / "photos", COUNTS, size=20)
    (tmp_path / "photos" / "names.txt").write_text("\n".join(COUNTS) + "\n")
    (tmp_path / "photos" / "ant" / "0000.png").rename(tmp_path / "photos" / "ant" / "one, two.png")
    rows = [
        f"{path.relative_to(tmp_path / 'photos')}\t{label}"
        for label, name in enumerate(COUNTS)
        for path in sorted((tmp_path / "photos" / name).iterdir())
    ]
    (tmp_path / "photos" / "labels.tsv").write_text("\n".join(["file name\tclass", *rows]) + "\n")
    return tmp_path / "photos"


def record(outputs: Path) -> RunRecord:
    (path,) = outputs.rglob(RESULT)
    return RunRecord.load(path)


def test_a_table_trains_and_its_fraction_for_validation_has_one_address_under_both_names(ltrun: Run, table: Path) -> None:
    choices = (*SMALL, "dataset=table", f"dataset.root={table}", "dataset.file=labels.tsv", "dataset.names=names.txt")
    done = ltrun(*choices, "dataset.validation=0.1", "outputs=out")
    assert done.returncode == 0, done.stderr
    found = record(Path("out"))
    assert found.classes == {"names": list(COUNTS), "counts": [17, 9, 4]}
    assert {split: data["images"] for split, data in found.data["splits"].items()} == {"train": 30, "val": 4, "test": 8}
    again = ltrun(*choices, "dataset.validation_fraction=0.1", "outputs=out")
    assert "done before" in again.stdout, again.stdout + again.stderr
    assert "dataset.validation_fraction is called dataset.validation now" in again.stderr


def test_parquet_files_train_and_are_described(ltrun: Run, tmp_path: Path) -> None:
    for split, per_class in {"train": 8, "test": 2}.items():
        cells = [encoded(pixels) for pixels in random_images(3 * per_class, 16, seed=per_class)]
        labels = [n % 3 for n in range(len(cells))]
        rows = pyarrow.table({"img": cells, "label": labels})
        (tmp_path / "hub" / "data").mkdir(parents=True, exist_ok=True)
        pyarrow.parquet.write_table(rows, tmp_path / "hub" / "data" / f"{split}-00000-of-00001.parquet")
    choices = ("dataset=parquet", f"dataset.root={tmp_path / 'hub'}")
    done = ltrun(*SMALL, *choices, "outputs=out")
    assert done.returncode == 0, done.stderr
    assert record(Path("out")).classes == {"names": ["0", "1", "2"], "counts": [8, 8, 8]}
    said = ltrun("data", *choices)
    assert said.returncode == 0, said.stderr
    assert "24" in said.stdout


def test_a_bad_table_is_refused_in_one_sentence(ltrun: Run, table: Path) -> None:
    choices = (*SMALL, "dataset=table", f"dataset.root={table}", "dataset.file=labels.tsv")
    (table / "bee" / "0003.png").unlink()
    assert "1 of the 42 images of" in (sentence := refused(ltrun(*choices)))
    assert "is missing (bee/0003.png)" in sentence
    assert "dataset.missing=1" in sentence
    assert "has no column 'clas'; did you mean 'class'" in refused(ltrun(*choices, "dataset.label=clas"))
    text = (table / "labels.tsv").read_text()
    (table / "labels.tsv").write_bytes(text.replace("ant/", "ânt/").encode("latin-1"))
    assert "is not encoded as UTF-8 (byte 0xe2 in line 2)" in refused(ltrun(*choices))
