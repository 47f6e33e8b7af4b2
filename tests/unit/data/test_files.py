"""Names of images: the file, or the row of a published file, behind each row of a split."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ltrun.data import CIFARLT, DigitsLT, ImageFolder, Splits
from ltrun.data.files import Files
from tests.support.data_fakes import CPU, cifar, cifar_parquet, class_folders, fake_release, images_of

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.mark.parametrize("streamed", [False, True])
def test_each_row_of_a_folder_is_the_file_that_it_names(tmp_path: Path, streamed: bool) -> None:
    class_folders(tmp_path / "train", {"ant": 9, "bee": 7}, size=8)
    class_folders(tmp_path / "test", {"ant": 2, "bee": 3}, size=8, seed=5)
    (tmp_path / "train" / "ant" / "0003.png").write_bytes(b"")
    splits = _open(tmp_path, streamed, skip_unreadable=True, validation_per_class=2)
    tested = ("ant/0000", "ant/0001", "bee/0000", "bee/0001", "bee/0002")
    assert list(splits.test.files) == [f"test/{name}.png" for name in tested]
    assert "train/ant/0003.png" not in list(splits.train.files)
    for store in filter(None, (splits.train, splits.val, splits.test)):
        found = [np.asarray(Image.open(tmp_path / name)) for name in store.files]
        assert len(store.files) == len(store)
        assert [Path(name).parent.name for name in store.files] == [splits.names[c] for c in store.targets.labels.tolist()]
        if not streamed:
            assert np.array_equal(np.stack(found), images_of(store))


def _open(root: Path, streamed: bool, **options: bool | int) -> Splits:
    return ImageFolder(str(root), image_size=8, streamed=streamed, workers=0, **options).open(CPU)  # type: ignore[arg-type]


def test_file_names_are_the_same_if_the_root_is_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class_folders(tmp_path, {"ant": 5, "bee": 5}, size=8)
    monkeypatch.chdir(tmp_path)
    assert list(_open(Path(), False).test.files) == list(_open(tmp_path, False).test.files)
    assert Path(_open(Path(), True).train.files[0]).is_file()


def test_names_that_are_not_utf_8_survive_an_array_file(tmp_path: Path) -> None:
    files = Files.of(["büro/ä.png", b"b\xfcro/\xe4.png"])
    np.savez(tmp_path / "names.npz", names=files.take(np.array([1, 0])).text())
    with np.load(tmp_path / "names.npz", allow_pickle=False) as saved:
        assert saved["names"].tolist() == [files[1], files[0]] == ["b\udcfcro/\udce4.png", "büro/ä.png"]


def test_images_of_cifar_have_the_official_names_where_the_release_has_names(tmp_path: Path) -> None:
    release, files = fake_release()
    (tmp_path / release.folder).mkdir()
    for name, content in files.items():
        (tmp_path / release.folder / name).write_bytes(content)
    source = CIFARLT(10, str(tmp_path), profile="exponential", imbalance=4, download=False)
    source.release = release
    splits = source.open(CPU)
    assert splits.test.files[7] == "test_batch_s_000007.png"
    raw, rows = source.splits()["train"]
    assert list(splits.train.files) == [raw.files[row] for row in rows]
    assert list(splits.train.files[2:4]) == [raw.files[row] for row in rows[2:4]]


def test_images_without_names_are_numbered_by_file_and_row(tmp_path: Path) -> None:
    cifar_parquet(tmp_path)
    assert cifar(tmp_path).open(CPU).test.files[42] == "test/00042"
    digits = DigitsLT().open(CPU)
    assert digits.train.files[0].startswith("digits/0")
    assert not set(digits.train.files) & set(digits.test.files)
