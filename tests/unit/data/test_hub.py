"""Images in Parquet files of a hub: only the rows that lists name are copied, once, and each is read by itself."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from ltrun.data import hub
from ltrun.data.joins import Join, Root
from ltrun.data.keys import IMAGENET
from ltrun.errors import DataError
from tests.support.data_fakes import write_parquet
from tests.support.listed_images import content_of
from tests.support.official_trees import hub as write_hub

TRAIN = {f"n0144076{c}_{k}": f"train/n0144076{c}/n0144076{c}_{k}.JPEG" for c in range(3) for k in range(4)}
PATHS = (*TRAIN.values(),)


def find(root: Path, paths: Sequence[str] = PATHS) -> Join:
    return Root(root, IMAGENET, "test").find(paths, [IMAGENET.of(path) for path in paths])


def contents(join: Join) -> list[bytes]:
    images = join.images((~join.absent).nonzero()[0])
    return [images.read(row) for row in range(len(images))]


@pytest.fixture
def root(tmp_path: Path, own_cache: None) -> Path:
    write_hub(tmp_path, TRAIN, {})
    return tmp_path


def copies(cache: Path) -> list[Path]:
    return list(cache.glob("*.images"))


def test_rows_are_found_by_their_paths_and_only_they_are_copied(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = root / "cache"
    monkeypatch.setenv("LTRUN_CACHE", str(cache))
    paths = list(TRAIN.values())[3:9]
    write_hub(root / "second", TRAIN, {})  # a second copy of all files
    join = find(root, paths)
    expected = [content_of(key) for key in list(TRAIN)[3:9]]
    assert contents(join) == expected
    assert join.sizes.tolist() == [len(content) for content in expected]
    (copy,) = copies(cache)
    assert copy.stat().st_size == sum(map(len, expected))
    assert join.place(0) == "data/train-00001-of-00002.parquet:n01440760_3_n01440760.JPEG"
    assert join.images(join.row * 0).shown(0) == join.place(0)


def test_a_copy_serves_later_runs_and_is_made_again_when_it_is_gone_or_the_files_change(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, made, copy = root / "cache", list[Path](), hub._copy
    monkeypatch.setenv("LTRUN_CACHE", str(cache))
    monkeypatch.setattr(hub, "_copy", lambda *args: (made.append(args[2]), copy(*args))[1])  # type: ignore[func-returns-value]
    expected = [content_of(key) for key in TRAIN]
    assert contents(find(root)) == contents(find(root)) == expected and len(made) == 1
    copies(cache)[0].unlink()
    assert contents(find(root)) == expected and len(made) == 2
    copies(cache)[0].write_bytes(b"cut")
    assert contents(find(root)) == expected and len(made) == 3
    write_hub(root / "again", TRAIN, {})
    for file in (root / "again" / "data").iterdir():
        file.replace(root / "data" / file.name)
    assert contents(find(root)) == expected and len(made) == 4


def test_rows_that_no_file_has_are_absent(root: Path) -> None:
    assert find(root, [*TRAIN.values(), "train/n01440769/n01440769_1.JPEG"]).absent.nonzero()[0].tolist() == [12]


def test_a_row_without_bytes_is_named(tmp_path: Path, own_cache: None) -> None:
    cells = [{"bytes": b"x", "path": "n01440760_0_n01440760.JPEG"}, {"bytes": None, "path": "n01440760_1_n01440760.JPEG"}]
    write_parquet(tmp_path / "train.parquet", cells, [0, 0])
    with pytest.raises(DataError, match=r"train\.parquet, row 1, has no image bytes: get the file again"):
        find(tmp_path)


def test_files_without_images_and_paths_are_passed_over(root: Path) -> None:
    write_parquet(root / "a.parquet", [b"x"], [0])
    assert contents(find(root)) == [content_of(key) for key in TRAIN]


def test_a_damaged_file_is_refused(tmp_path: Path, own_cache: None) -> None:
    (tmp_path / "train.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match=r"train\.parquet cannot be read as parquet"):
        find(tmp_path)


def test_a_cache_without_room_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "file").write_bytes(b"")
    monkeypatch.setenv("LTRUN_CACHE", str(root / "file" / "cache"))
    with pytest.raises(DataError, match=r"cannot be copied to .*: set LTRUN_CACHE to a folder with room"):
        find(root)
