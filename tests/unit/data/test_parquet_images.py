"""Parquet files of encoded images: splits, names and pixels, the packed file in the cache, and files that are refused."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch

from ltrun.data import ParquetImages
from ltrun.data.packed import unpacked
from ltrun.data.stamps import Stamps
from tests.support.data_fakes import encoded, pixels_of, random_images, refused
from tests.support.narrow import present

CPU = torch.device("cpu")
IMAGE = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
PIXELS = random_images(20, 8)
CELLS = [encoded(pixels) for pixels in PIXELS]
LABELS = [0, 1] * 10


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("LTRUN_CACHE", str(folder))
    return folder


def write(path: Path, cells: Sequence[bytes | None], labels: Sequence[object], names: Sequence[str] = (), **how: Any) -> None:
    """Writes a file as a hub does: images as {bytes, path}, names of classes in the metadata."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [{"bytes": cell, "path": f"/home/x/{n}.png"} for n, cell in enumerate(cells)]
    table = pyarrow.table({"image": pyarrow.array(images, IMAGE), "label": list(labels)})
    features = {"label": {"names": list(names), "_type": "ClassLabel"}} if names else {}
    note = json.dumps({"info": {"features": features}})
    pyarrow.parquet.write_table(table.replace_schema_metadata({"huggingface": note}), path, **how)


def hub(root: Path, cells: Sequence[bytes | None] = CELLS, labels: Sequence[object] = LABELS) -> Path:
    """Two training files of 7 rows and the rest, and a test file of the last 4."""
    names = ("ant", "bee")
    write(root / "data" / "train-00000-of-00002.parquet", cells[:7], labels[:7], names, row_group_size=3)
    write(root / "data" / "train-00001-of-00002.parquet", cells[7:16], labels[7:16], names)
    write(root / "data" / "test-00000-of-00001.parquet", cells[16:], labels[16:], names)
    return root


def source(root: Path, **more: Any) -> ParquetImages:
    return ParquetImages(str(root), image_size=8, **more)


def test_rows_have_the_pixels_labels_and_names_of_their_files(tmp_path: Path) -> None:
    splits = source(hub(tmp_path)).open(CPU)
    assert splits.names == ("ant", "bee")
    assert splits.stats.counts.tolist() == [8, 8]
    files = present(splits.train.files)
    assert sorted(files)[:2] == ["train/0.png", "train/0.png"]
    expected = {image.transpose(2, 0, 1).tobytes(): label for image, label in zip(PIXELS, LABELS, strict=True)}
    for store in (splits.train, splits.test):
        images = pixels_of(store).numpy()
        assert [expected[image.tobytes()] for image in images] == store.targets.labels.tolist()
    assert torch.equal(pixels_of(splits.test), torch.from_numpy(PIXELS[16:].transpose(0, 3, 1, 2).copy()))


def test_streamed_rows_equal_resident_rows(tmp_path: Path) -> None:
    root = hub(tmp_path)
    resident, streamed = source(root, streamed=False).open(CPU), source(root, streamed=True, workers=0).open(CPU)
    batch = next(iter(streamed.test.open([torch.arange(4)])))
    assert torch.equal(batch.inputs, pixels_of(resident.test))


def test_images_as_plain_bytes_and_labels_as_names_are_read_too(tmp_path: Path) -> None:
    columns = {"img": CELLS, "species": ["wasp", "ant"] * 10}
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "train.parquet")
    splits = source(tmp_path).open(CPU)
    assert splits.names == ("ant", "wasp")
    assert [splits.stats.counts.tolist(), len(splits.test)] == [[8, 8], 4]
    assert present(splits.train.files)[0].startswith("train/000")


def test_a_test_split_without_labels_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "train.parquet", CELLS[:8], LABELS[:8])
    write(tmp_path / "test.parquet", CELLS[8:12], [-1] * 4)
    write(tmp_path / "validation.parquet", CELLS[12:], LABELS[12:])
    splits = source(tmp_path).open(CPU)
    assert (len(splits.test), splits.val) == (8, None)
    assert "the test split has no labels, so it is left out" in caplog.text


def test_the_files_are_unpacked_once_and_again_when_one_changes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = hub(tmp_path)
    said = []
    with caplog.at_level("INFO"):
        for change in (False, False, True):
            if change:
                write(root / "data" / "test-00000-of-00001.parquet", CELLS[:4], LABELS[:4], ("ant", "bee"))
            caplog.clear()
            splits = source(root).open(CPU)
            said.append("unpacking their images once" in caplog.text)
    assert said == [True, False, True]
    assert torch.equal(pixels_of(splits.test), torch.from_numpy(PIXELS[:4].transpose(0, 3, 1, 2).copy()))


@pytest.mark.parametrize("harm", ["removed", "truncated", "exchanged"])
def test_a_packed_file_that_is_not_whole_is_made_again(tmp_path: Path, cache: Path, harm: str) -> None:
    files = [hub(tmp_path) / "data" / "train-00000-of-00002.parquet"]
    before = unpacked(files, "image", Stamps.of(files, tmp_path))
    (packed,) = cache.glob("*.packed")
    content = packed.read_bytes()
    packed.unlink()
    if harm != "removed":
        packed.write_bytes(content[:-1] if harm == "truncated" else content[:-1] + bytes([content[-1] ^ 1]))
    after = unpacked(files, "image", Stamps.of(files, tmp_path))
    for images in (before, after):
        assert [images.read(row) for row in range(len(images))] == CELLS[:7]
    assert after.shown(3) == f"{files[0]}, row 3"
    assert packed.read_bytes() == content


def test_a_cache_without_room_is_named(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = hub(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10}))
    assert "GB left: set LTRUN_CACHE to a folder with room" in refused(source(root))
    monkeypatch.undo()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LTRUN_CACHE", str(tmp_path / "file"))
    assert f"cannot be copied to {tmp_path / 'file'} (" in refused(source(root))


def test_rows_without_images_are_counted_and_left_out_up_to_a_limit(tmp_path: Path) -> None:
    root = hub(tmp_path, [*CELLS[:9], None, *CELLS[10:]])
    said = refused(source(root))
    assert f"1 of the 20 images of {root} is missing ({root / 'data' / 'train-00001-of-00002.parquet'}, row 2)" in said
    assert source(root, missing=1).open(CPU).stats.counts.tolist() == [8, 7]


def test_an_unknown_kind_of_image_is_named_by_its_row(tmp_path: Path) -> None:
    root = hub(tmp_path, [b"no image", *CELLS[1:]])
    assert f"{root / 'data' / 'train-00000-of-00002.parquet'}, row 0 is not an image of a known kind" in refused(source(root))
    assert source(root, skip_unreadable=True).open(CPU).skipped == 1


def test_equal_images_in_two_splits_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source(hub(tmp_path, [*CELLS[:19], CELLS[1]])).open(CPU)
    assert "1 image has the content of an image of another split, such as" in caplog.text
    assert "row 1 and" in caplog.text


def test_a_label_beyond_the_names_is_refused_with_its_row(tmp_path: Path) -> None:
    root = hub(tmp_path, labels=[*LABELS[:8], 2, *LABELS[9:]])
    said = f"{root / 'data' / 'train-00001-of-00002.parquet'}, row 1: the label 2 is outside the 2 classes"
    assert said in refused(source(root))


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"image": ["a.jpg"] * 4, "label": [0, 1] * 2}, "(string) holds no encoded images, but paths: dataset=table reads"),
        ({"image": [[b"x"]] * 4, "label": [0, 1] * 2}, "holds no encoded images: give dataset.image=COLUMN"),
        ({"image": [{"data": b"x"}] * 4, "label": [0, 1] * 2}, "holds no encoded images: give dataset.image=COLUMN"),
        ({"image": [1, 2, 3, 4], "label": [0, 1] * 2}, "(int64) holds no encoded images: give dataset.image=COLUMN"),
        ({"image": pyarrow.array([None] * 4, pyarrow.binary()), "label": [0, 1] * 2}, "holds no image in any row"),
        ({"image": CELLS[:4], "label": [0, None, 1, 0]}, "row 1: the label 'label' is empty"),
        ({"image": CELLS[:4], "label": [[0], [1], [0], [1]]}, "row 0: 'label' is a list, not one text or number"),
    ],
)
def test_columns_of_another_kind_are_refused(tmp_path: Path, columns: dict[str, Any], said: str) -> None:
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "train.parquet")
    assert said in refused(source(tmp_path))


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
def test_a_truncated_file_is_named(tmp_path: Path, keep: float) -> None:
    file = hub(tmp_path) / "data" / "train-00001-of-00002.parquet"
    content = file.read_bytes()
    file.write_bytes(content[: int(keep * len(content))])
    assert f"{file} cannot be read as parquet" in refused(source(tmp_path))
    assert not list(tmp_path.rglob("*.tmp"))


def test_the_real_cifar100_is_read(cifar100_root: Path) -> None:
    splits = ParquetImages(str(cifar100_root), image_size=32, streamed=True, workers=0, label="coarse_label").open(CPU)
    assert (len(splits.train), len(splits.test), len(splits.names)) == (50_000, 10_000, 20)
    assert np.array_equal(splits.stats.counts, [2500] * 20)


def test_a_file_of_other_columns_among_the_files_of_a_split_is_named(tmp_path: Path) -> None:
    file = hub(tmp_path) / "data" / "train-00001-of-00002.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"x": [1, 2]}), file)
    assert f"{file} has no column 'image', unlike the files beside it" in refused(source(tmp_path))
