"""Join of lists and images: by path, by key in folders and tars, from a kept listing, and what is absent."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ltrun.data import index
from ltrun.data.joins import Join, Root
from ltrun.data.keys import IMAGENET, OWN, PLACES, Keys
from ltrun.data.lists import read_list
from ltrun.data.published import Name, benchmark
from ltrun.data.stamps import Stamps
from ltrun.data.verify import verifying
from ltrun.errors import DataError
from tests.support.listed_images import content_of, write, write_tar

PATHS = [f"train/n0144076{c}/n0144076{c}_{k}.JPEG" for c in range(3) for k in range(4)]
KEYS = [IMAGENET.of(path) for path in PATHS]


def find(root: Path, paths: list[str] = PATHS, keys: Keys = IMAGENET) -> Join:
    return Root(root, keys, "test").find(paths, [keys.of(path) for path in paths])


def contents(join: Join) -> list[bytes]:
    rows = (~join.absent).nonzero()[0]
    images = join.images(rows)
    return [images.read(row) for row in range(len(images))]


def expected(paths: list[str] = PATHS) -> list[bytes]:
    return [content_of(IMAGENET.of(path)) for path in paths]


@pytest.fixture
def no_listing(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise AssertionError("the root was listed")

    monkeypatch.setattr("ltrun.data.joins.listed", forbidden)


def test_a_list_whose_paths_lead_to_files_needs_no_listing(tmp_path: Path, no_listing: None) -> None:
    write(tmp_path, PATHS, IMAGENET.of)
    join = find(tmp_path)
    assert not join.absent.any() and contents(join) == expected()
    assert join.sizes.tolist() == [len(content) for content in expected()]
    assert join.times.tolist() == [(tmp_path / path).stat().st_mtime_ns for path in PATHS]


@pytest.mark.parametrize("layout", ["{}/{}", "ILSVRC/Data/CLS-LOC/train/{}/{}", "deep/er/{1}", "{1}"])
def test_images_elsewhere_are_found_by_their_keys(tmp_path: Path, own_cache: None, layout: str) -> None:
    moved = [layout.format(*path.split("/")[1:]) for path in PATHS]
    write(tmp_path, moved, IMAGENET.of)
    join = find(tmp_path)
    assert [join.place(row) for row in range(len(PATHS))] == moved
    assert contents(join) == expected()


def test_a_line_whose_file_is_gone_is_found_elsewhere_or_absent(tmp_path: Path, own_cache: None) -> None:
    """The first, the middle and the last line exist, and so would be taken for all."""
    write(tmp_path, PATHS, IMAGENET.of)
    (tmp_path / PATHS[1]).rename(tmp_path / "n01440760_1.JPEG")
    (tmp_path / PATHS[2]).unlink()
    join = find(tmp_path)
    assert join.absent.nonzero()[0].tolist() == [2]
    assert join.place(1) == "n01440760_1.JPEG"
    assert contents(join) == expected([path for path in PATHS if path != PATHS[2]])


def test_links_to_folders_are_followed_and_rings_are_not(tmp_path: Path, own_cache: None) -> None:
    write(tmp_path / "disk", PATHS, IMAGENET.of)
    root = tmp_path / "root"
    (root / "linked").mkdir(parents=True)
    (root / "linked" / "train").symlink_to(tmp_path / "disk" / "train")
    (root / "linked" / "ring").symlink_to(root)
    (root / "linked" / "n01440760_99.JPEG").symlink_to("nowhere")
    assert contents(find(root)) == expected()
    assert len(list(index._names(root, ""))) == len(PATHS) + 1


def test_of_two_files_with_one_key_the_first_by_name_counts(tmp_path: Path, own_cache: None) -> None:
    write(tmp_path, ["b/n01440760_0.JPEG", "a/n01440760_0.JPEG", "c/n01440760_0.JPEG"], IMAGENET.of)
    found = Root(tmp_path, IMAGENET, "test")
    assert found.find(PATHS[:1], KEYS[:1]).place(0) == "a/n01440760_0.JPEG"
    assert found.listing is not None and len(found.listing.index.keys) == 1


def test_a_listing_is_kept_and_made_again_when_an_image_is_missed(
    tmp_path: Path, own_cache: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new file deep in a folder changes no first-level folder, whose stamps the cache compares."""
    walks, walked = list[Path](), index._names

    def counted(folder: Path, above: str, within: frozenset[tuple[int, int]] = frozenset()) -> Iterator[str]:
        walks.extend([folder] * (not within))
        return walked(folder, above, within)

    monkeypatch.setattr(index, "_names", counted)
    write(tmp_path / "x", PATHS[:-1], IMAGENET.of)
    assert find(tmp_path).absent.sum() == 1 and len(walks) == 1
    assert find(tmp_path, PATHS[:-1]).absent.sum() == 0 and len(walks) == 1
    write(tmp_path / "x", PATHS[-1:], IMAGENET.of)
    assert find(tmp_path).absent.sum() == 0 and len(walks) == 2
    (tmp_path / "x" / PATHS[0]).rename(tmp_path / "x" / "train" / "n01440761" / "n01440760_0.JPEG")
    join = find(tmp_path)
    assert join.absent.sum() == 0 and join.place(0) == "x/train/n01440761/n01440760_0.JPEG" and len(walks) == 3
    assert find(tmp_path).absent.sum() == 0 and len(walks) == 3


def test_a_verification_lists_again_and_compares_no_images(tmp_path: Path, own_cache: None) -> None:
    write(tmp_path / "x", PATHS[:6], IMAGENET.of)
    write_tar(tmp_path / "a.tar", {f"{key}.JPEG": content_of(key) for key in KEYS[6:]})
    for _ in range(2):
        with verifying() as found:
            assert contents(find(tmp_path)) == expected()
        assert (found.images, found.missing, found.differing) == (0, 0, [])


def test_tars_are_read_only_for_what_no_file_has(tmp_path: Path, own_cache: None) -> None:
    write(tmp_path / "x", PATHS[:6], IMAGENET.of)
    write_tar(tmp_path / "archives" / "b.tar", {"n01440761_2.JPEG": content_of(KEYS[6])})
    others = {f"{key}.JPEG": content_of(key) for key in KEYS[5:]}
    write_tar(tmp_path / "z.tar", others)
    join = find(tmp_path)
    assert contents(join) == expected()
    places = [join.place(row) for row in range(len(PATHS))]
    assert places[5] == f"x/{PATHS[5]}" and places[6] == "archives/b.tar:n01440761_2.JPEG"
    assert places[7] == "z.tar:n01440761_3.JPEG"
    stamps = join.stamps_of((~join.absent).nonzero()[0])
    assert stamps.names.tolist()[:2] == [b"archives/b.tar", b"z.tar"] and len(stamps.names) == 8


def test_a_tar_that_nobody_needs_is_not_opened(tmp_path: Path, own_cache: None) -> None:
    write(tmp_path / "x", PATHS, IMAGENET.of)
    (tmp_path / "code.tar").write_bytes(b"no tar")
    assert not find(tmp_path).absent.any()
    with pytest.raises(DataError, match=r"code\.tar"):
        find(tmp_path, [*PATHS, "n01440769_1.JPEG"])


def test_a_changed_tar_is_read_again(tmp_path: Path, own_cache: None) -> None:
    write_tar(tmp_path / "a.tar", {f"{key}.JPEG": content_of(key) for key in KEYS})
    assert contents(find(tmp_path)) == expected()
    write_tar(tmp_path / "a.tar", {f"{key}.JPEG": content_of(key) for key in KEYS[::-1]})
    assert contents(find(tmp_path)) == expected()


def test_class_tars_of_places_keep_classes_apart(tmp_path: Path, own_cache: None) -> None:
    inner = {
        f"{name}.tar": write_tar(tmp_path / "scratch", {"00000001.jpg": name.encode()}).read_bytes()
        for name in ("alley", "attic")
    }
    (tmp_path / "scratch").unlink()
    write_tar(tmp_path / "train.tar", inner)
    assert contents(find(tmp_path, ["train/attic/00000001.jpg", "train/alley/00000001.jpg"], PLACES)) == [b"attic", b"alley"]


@pytest.mark.parametrize("path", ["../secret.jpg", "/etc/passwd", "a/../../secret.jpg"])
def test_a_line_that_leads_out_of_the_root_is_not_followed(tmp_path: Path, own_cache: None, path: str) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"x")
    (tmp_path / "root").mkdir()
    assert find(tmp_path / "root", [path], OWN).absent.all()


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("imagenet_lt", ["ImageNet_LT_val.txt", "ImageNet_LT_test.txt"]),
        ("places_lt", ["Places_LT_train.txt", "Places_LT_val.txt", "Places_LT_test.txt"]),
        ("inat18", ["iNaturalist18_val.txt"]),
    ],
)
@pytest.mark.slow
def test_every_line_of_the_real_lists_is_found_in_every_spelling(
    shared_lists: Path, name: Name, files: list[str], tmp_path: Path, own_cache: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folders are a listing alone; no image exists."""
    keys = benchmark(name).keys
    paths = [path for file in files for path in read_list(shared_lists / name / file).paths]
    wanted = [keys.of(path) for path in paths]
    assert len(set(wanted)) == len(paths)
    for spelling in SPELLINGS[name]:
        there = [spelling(path) for path in paths]
        monkeypatch.setattr(index, "_names", lambda *_, there=there: iter(there))
        monkeypatch.setattr(Stamps, "of", classmethod(pretended))
        join = Root(tmp_path, keys, f"{name} {len(there[0])}").find(paths, wanted)
        assert [join.place(row) for row in range(len(paths))] == there


def pretended(_: type[Stamps], paths: list[Path], place: Path) -> Stamps:
    """Stamps of files that are said to exist."""
    names = np.array([os.fsencode(path.relative_to(place)) for path in paths] or [b""])
    return Stamps(place, names[: len(paths)], np.ones((len(paths), 4), dtype=np.int64), False, "")


def flat(path: str) -> str:
    return f"flat/{path.rpartition('/')[2]}"


def small_archive(path: str) -> str:
    """The spelling of Places365's small archive, nested classes as folders in folders."""
    split, name, image = path.split("/")
    return f"val_256/{image}" if split == "val" else f"data_256/{name[0]}/{name.replace('-', '/')}/{image}"


SPELLINGS = {
    "imagenet_lt": [
        lambda path: f"ILSVRC/Data/CLS-LOC/{path}",
        flat,
        lambda path: f"ImageNet_LT/test/{path.partition('/')[2]}",
    ],
    "places_lt": [lambda path: f"places365_standard/{path}", small_archive],
    "inat18": [lambda path: f"images/{path}", flat],
}
