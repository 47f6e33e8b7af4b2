"""Features of videos in files of their own or packed: the same frames, and every fault by name."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ltrun.data.video_pack import pack
from ltrun.data.videos import FEATURES, INDEX, Videos, ids_in, videos_in
from ltrun.errors import ConfigError, DataError

pytestmark = pytest.mark.usefixtures("own_cache")
LENGTHS = [1, 5, 30, 12]
IDS = [f"-v{row}" for row in range(len(LENGTHS))]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name, frames in zip(IDS, LENGTHS, strict=True):
        np.save(tmp_path / f"{name}.npy", rng.standard_normal((frames, 6), dtype=np.float32))
    return tmp_path


def read(videos: Videos, video: int, rows: list[int]) -> NDArray[np.floating]:
    into = np.full((len(rows), videos.width), np.nan, dtype=videos.dtype)
    videos.read(video, np.array(rows), into)
    return into


def test_the_asked_rows_are_read(folder: Path) -> None:
    videos = videos_in(folder, IDS)
    assert (videos.frames.tolist(), videos.width, videos.dtype) == (LENGTHS, 6, np.float32)
    assert ids_in(folder) == set(IDS)
    for video, rows in [(0, [0, 0, 0]), (1, [0, 1, 2, 4]), (2, [3, 3, 4, 29]), (3, list(range(12)))]:
        assert np.array_equal(read(videos, video, rows), np.load(folder / f"{IDS[video]}.npy")[rows])


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_packed_videos_are_the_same(folder: Path, dtype: str) -> None:
    whole, target = videos_in(folder, IDS), folder / "packed"
    pack(whole, target, np.dtype(dtype))
    packed = videos_in(target, IDS[::-1])
    assert (packed.frames.tolist(), packed.dtype, ids_in(target)) == (LENGTHS[::-1], dtype, set(IDS))
    for video, rows in [(0, [0]), (1, [0, 0, 4]), (2, [29]), (3, [0, 5])]:
        assert np.array_equal(read(packed, 3 - video, rows), read(whole, video, rows).astype(dtype))
    assert np.load(target / FEATURES).shape == (sum(LENGTHS), 6), "a plain array file, which NumPy opens"
    again = videos_in(target, IDS)
    pack(again, folder / "again", again.dtype)
    assert (folder / "again" / FEATURES).read_bytes() == (target / FEATURES).read_bytes()


def test_an_interrupted_pack_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    videos, before = videos_in(folder, IDS), sorted(folder.iterdir())
    monkeypatch.setattr(Videos, "read", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        pack(videos, folder / "packed", videos.dtype)
    assert sorted(folder.iterdir()) == before


def test_a_pack_is_refused_where_it_would_lose_something(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="holds other data"):
        pack(videos_in(folder, IDS), folder, np.dtype("float32"))
    np.save(folder / "-v3.npy", np.full((2, 6), 1e6, dtype=np.float32))
    videos = videos_in(folder, IDS)
    with pytest.raises(DataError, match=r"-v3\.npy holds features up to 1e\+06, too large for float16"):
        pack(videos, folder / "packed", np.dtype("float16"))
    assert not (folder / "packed").exists()
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 100}))
    with pytest.raises(ConfigError, match=r"the features take .* GB, and 0\.0 GB are free there"):
        pack(videos, folder / "packed", videos.dtype)


def fortran(file: Path) -> None:
    np.save(file, np.asfortranarray(np.zeros((3, 6), dtype=np.float32)))


FAULTS = {
    "is empty": lambda file: file.write_bytes(b""),
    "is not an array file of NumPy": lambda file: file.write_bytes(b"some text"),
    "is a Git LFS pointer": lambda file: file.write_bytes(b"version https://git-lfs.github.com/spec/v1\n"),
    r"is damaged: it has 200 bytes, and its 30 frames need 848": lambda file: file.write_bytes(file.read_bytes()[:200]),
    r"is not an array file .*, and 1 more files": lambda file: [
        each.write_bytes(file.read_bytes()[:60]) for each in (file, file.with_name("-v3.npy"))
    ],
    r"holds an array of shape \(6,\)": lambda file: np.save(file, np.zeros(6, dtype=np.float32)),
    r"holds an array of shape \(3, 2, 2\)": lambda file: np.save(file, np.zeros((3, 2, 2), dtype=np.float32)),
    "holds no frame": lambda file: np.save(file, np.zeros((0, 6), dtype=np.float32)),
    "holds float64, where float32 or float16": lambda file: np.save(file, np.zeros((3, 6))),
    r"holds float16, and .*-v0\.npy holds float32": lambda file: np.save(file, np.zeros((3, 6), dtype=np.float16)),
    r"holds features of 7 numbers, and .*-v0\.npy holds 6": lambda file: np.save(file, np.zeros((3, 7), dtype=np.float32)),
    "stored by columns": fortran,
    "an array file": lambda file: file.write_bytes(b"\x93NUMPY\x09\x00\x02\x00{}"),
    "Is a directory": lambda file: (file.unlink(), file.mkdir()),
    "cannot be read": lambda file: (file.unlink(), file.symlink_to("nowhere")),
}


@pytest.mark.parametrize("reason", FAULTS)
def test_features_that_cannot_be_used_are_named(folder: Path, reason: str) -> None:
    FAULTS[reason](folder / "-v2.npy")
    with pytest.raises(DataError, match=rf"-v2\.npy .*{reason}"):
        videos_in(folder, IDS)


def test_a_file_that_is_cut_short_or_gone_meanwhile_is_named(folder: Path) -> None:
    videos, file = videos_in(folder, IDS), folder / "-v2.npy"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(DataError, match=r"-v2\.npy cannot be read any more \(it was cut short\): .* resumes the run"):
        read(videos, 2, [29])
    file.unlink()
    with pytest.raises(DataError, match=r"-v2\.npy cannot be read any more \(No such file"):
        read(videos, 2, [0])


def test_a_damaged_pack_is_refused(folder: Path) -> None:
    pack(videos_in(folder, IDS), folder / "packed", np.dtype("float32"))
    file, index = folder / "packed" / FEATURES, folder / "packed" / INDEX
    np.savez(index, ids=np.array([b"-v0"]), ends=np.array([0, 1]))
    with pytest.raises(DataError, match=r"features\.npy has 48 frames, and videos\.npz has 1: pack the videos again"):
        videos_in(folder / "packed", ["-v0"])
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(DataError, match=r"features\.npy is damaged: .*: pack the videos again"):
        videos_in(folder / "packed", ["-v0"])
    index.write_bytes(b"PK")
    with pytest.raises(DataError, match=r"videos\.npz cannot be read .*: pack the videos again"):
        videos_in(folder / "packed", ["-v0"])
