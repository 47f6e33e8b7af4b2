"""Images that a command line names: folders, files, lists, standard input; grey of RGB."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ltrun.data.decoding import Decoding
from ltrun.data.inputs import decoded, digest_of, grey, images_of
from ltrun.errors import ConfigError, DataError


def test_folders_are_walked_by_name_and_lists_are_read_from_here_or_beside_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("b/2.JPG", "b/1.png", "a/x/3.webp", "a/notes.md", "a/.hidden.png", ".cache/4.png", "0.png"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).touch()
    found = [path.relative_to(tmp_path / "photos").as_posix() for path in images_of([str(tmp_path / "photos")], [])]
    assert found == ["0.png", "a/x/3.webp", "b/1.png", "b/2.JPG"]
    (tmp_path / "photos" / "list.txt").write_text("\ufeff0.png\r\n\nphotos/b/1.png\ngone.png\n")
    monkeypatch.chdir(tmp_path)
    assert images_of(["photos/list.txt"], []) == [Path("photos/0.png"), Path("photos/b/1.png"), Path("gone.png")]
    assert images_of([], ["x y.png\n", "\n"]) == [Path("x y.png")]
    assert images_of(["one", "-"], ["two"]) == [Path("one"), Path("two")]
    with pytest.raises(ConfigError, match="standard input names no image"):
        images_of([], [])


def test_a_list_of_open_images_names_files_of_the_folder_with_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("data/X_open/a.JPEG", "data/X_open/b -1", "data/c.JPEG", "data/X_open/c.JPEG"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    Path("data/X_open.txt").write_text("a.JPEG -1\nb -1\nX_open/a.JPEG -1\nc.JPEG -1\nc.JPEG 5\ngone.JPEG -1\n")
    found = [path.as_posix() for path in images_of(["data/X_open.txt"], [])]
    of_the_list = ["data/X_open/a.JPEG", "data/X_open/b -1", "data/X_open/a.JPEG", "data/c.JPEG"]
    assert found == [*of_the_list, "c.JPEG 5", "gone.JPEG"]  # a class is no part of a list of open images


def test_a_digest_is_of_the_content_of_files_in_any_order(tmp_path: Path) -> None:
    names = [tmp_path / name for name in "abc"]
    for name in names:
        name.write_text(name.name)
    digest = digest_of(names)
    assert len(digest) == 32 and digest == digest_of(names[::-1]) == digest_of([names[0].rename(tmp_path / "z"), *names[1:]])
    assert digest_of(names) != digest and digest_of(names) == digest_of([tmp_path / "gone", *names[1:]])
    names[1].write_text("other")
    assert digest_of([tmp_path / "z", *names[1:]]) != digest


def test_lines_that_are_no_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="standard input holds zero bytes, so it is no list of paths: give one path a line"):
        images_of([], ["a.png\0b.png\0"])
    (tmp_path / "list.txt").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    with pytest.raises(DataError, match=r"list\.txt holds zero bytes"):
        images_of([str(tmp_path / "list.txt")], [])


def test_grey_images_that_became_rgb_become_the_same_grey_again() -> None:
    values = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    assert torch.equal(grey(values.expand(1, 3, 16, 16)), values)
    rgb = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    ours = grey(torch.from_numpy(rgb).permute(2, 0, 1)[None])[0, 0].numpy()
    assert np.array_equal(ours, np.asarray(Image.fromarray(rgb).convert("L")))


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_in_order_and_name_unreadable_images(workers: int, tmp_path: Path) -> None:
    paths = [tmp_path / f"{n}.png" for n in range(5)]
    for n, path in enumerate(paths):
        Image.new("RGB", (6, 6), (n, 2 * n, 3 * n)).save(path)
    paths[3].write_bytes(b"")
    found = list(decoded(paths, Decoding(6), 3, 2, workers))
    assert [(each.first, len(each.inputs), each.reasons) for each in found] == [
        (0, 2, {}),
        (2, 2, {1: "is empty (0 bytes)"}),
        (4, 1, {}),
    ]
    assert torch.cat([each.inputs for each in found])[:, 2, 0, 0].tolist() == [0, 3, 6, 0, 12]
