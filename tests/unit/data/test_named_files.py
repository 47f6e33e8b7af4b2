"""Image files that a table names: found in one listing per folder; nothing outside the root is read."""

import os
from pathlib import Path

import pytest

from ltrun.data.named_files import find_files
from ltrun.errors import DataError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("photos/a.jpg", "photos/sub/b.JPG", "photos/sub/c.png", "outside/d.jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path / "photos"


def error(row: int, said: str) -> DataError:
    return DataError(f"line {row + 2}: {said}")


@pytest.mark.parametrize(
    ("cell", "path"),
    [
        ("a.jpg", "a.jpg"),
        ("sub/b.JPG", "sub/b.JPG"),
        ("sub\\b.JPG", "sub/b.JPG"),
        ("./sub//../a.jpg", "a.jpg"),
        ("sub/c", "sub/c.png"),
        ("a", "a.jpg"),
    ],
)
def test_a_file_is_found_in_any_spelling_of_its_path(root: Path, cell: str, path: str) -> None:
    found = find_files(root, "", [cell], error)
    assert (found.paths, found.present.tolist(), found.outside) == ([path], [True], [])


def test_absolute_paths_count_inside_the_root(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    cells = [str(root / "a.jpg"), str(root.resolve() / "sub" / "c.png")]
    for top in (root, tmp_path / "link"):
        assert find_files(top, "", cells, error).paths == ["a.jpg", "sub/c.png"]


def test_paths_after_a_prefix_are_below_it(root: Path) -> None:
    found = find_files(root, "sub/", ["c.png", "../a.jpg", "../../outside/d.jpg"], error)
    assert found.paths[:2] == ["sub/c.png", "a.jpg"]
    assert found.present.tolist() == [True, True, False]
    assert found.outside == [2]


@pytest.mark.parametrize("cell", ["../outside/d.jpg", "/etc/passwd", "sub/../../outside/d.jpg", ".."])
def test_a_path_that_leaves_the_root_is_never_present(root: Path, cell: str) -> None:
    found = find_files(root, "", ["a.jpg", cell], error)
    assert (found.present.tolist(), found.outside) == ([True, False], [1])


def test_a_link_out_of_the_root_is_refused_and_a_link_in_it_is_a_file(root: Path, tmp_path: Path) -> None:
    (root / "inner.jpg").symlink_to(root / "a.jpg")
    assert find_files(root, "", ["inner.jpg"], error).present.all()
    (root / "outer.jpg").symlink_to(tmp_path / "outside" / "d.jpg")
    (root / "folder").symlink_to(tmp_path / "outside")
    for cell in ("outer.jpg", "folder/d.jpg"):
        with pytest.raises(DataError, match="is a symbolic link to a place outside"):
            find_files(root, "", [cell], error)
    assert find_files(root, "", ["a.jpg"], error).present.all()  # a link that no row names is no image


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("", "line 3: it names no image"),
        ("a\0.jpg", "line 3: it names no image"),
        ("https://example.org/a.jpg", "line 3: https://example.org/a.jpg is an address, and ltrun downloads no images"),
        ("\ud800.jpg", "line 3: .* is no text that can name a file"),
        ("sub/b", "line 3: 'b' may be b.JPG or b.png: write the whole name of the file"),
    ],
)
def test_a_cell_that_names_no_file_is_refused_with_its_line(root: Path, cell: str, said: str) -> None:
    (root / "sub" / "b.png").write_bytes(b"x")
    with pytest.raises(DataError, match=said):
        find_files(root, "", ["a.jpg", cell], error)


def test_folders_and_missing_files_are_not_present(root: Path) -> None:
    cells = ["sub", "x.jpg", "none/a.jpg", "a.jpg/b.jpg"]
    assert not find_files(root, "", cells, error).present.any()


def test_each_folder_is_listed_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed, scan = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(path) or scan(path))  # type: ignore[func-returns-value]
    assert find_files(root, "", ["sub/b.JPG", "a.jpg", "sub/c.png"] * 100, error).present.all()
    assert len(listed) == 2
