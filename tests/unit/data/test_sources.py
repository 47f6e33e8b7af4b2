"""Every data set and every form of it: what `open` gives."""

import hashlib
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from ltrun.data import CIFARLT, DigitsLT, ImageFolder, Resident, Splits
from ltrun.data import images as decoding
from ltrun.data.official import unpickle
from ltrun.data.releases import RELEASES
from ltrun.recipe.read import source_of
from ltrun.taxonomy import DATASET_KEYS
from ltrun.types import Labels
from tests.support.data_fakes import (
    cifar_parquet,
    class_folders,
    encoded,
    fake_release,
    random_images,
    write_archive,
    write_parquet,
)

CPU = torch.device("cpu")
CONF = Path(__file__).parents[3] / "conf" / "dataset"


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LTRUN_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def real_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def images_of(store: Resident) -> np.ndarray:
    """(N, H, W, channels)."""
    return store.images.permute(0, 2, 3, 1).numpy()


def same(a: Splits, b: Splits) -> bool:
    stores = zip((a.train, a.test), (b.train, b.test), strict=True)
    return all(torch.equal(x.images, y.images) and torch.equal(x.targets.index, y.targets.index) for x, y in stores)


# The store


def test_resident_opens_batches_in_the_order_asked_for() -> None:
    images = torch.arange(10, dtype=torch.uint8)[:, None, None, None].expand(10, 3, 2, 2).contiguous()
    store = Resident(images, Labels.hard(torch.arange(10) % 4))
    plan = [torch.tensor([3, 3, 9]), torch.tensor([0]), torch.tensor([8, 1])]
    batches = list(store.open(plan))
    assert len(store) == 10
    for rows, batch in zip(plan, batches, strict=True):
        assert torch.equal(batch.rows, rows)
        assert batch.inputs.dtype == torch.uint8
        assert torch.equal(batch.inputs[:, 0, 0, 0].long(), rows)
        assert torch.equal(batch.targets.primary, rows % 4)
    assert list(store.open([])) == []


def test_batches_do_not_alias_the_store() -> None:
    store = Resident(torch.zeros(4, 1, 2, 2, dtype=torch.uint8), Labels.hard(torch.arange(4)))
    next(store.open([torch.tensor([1, 2])])).inputs.fill_(7)
    assert store.images.sum() == 0


# Digits


def test_digits_are_balanced_in_test_and_long_tailed_in_training() -> None:
    splits = DigitsLT().open(CPU)
    stats = splits.stats
    assert stats.counts.tolist() == [128, 89, 62, 43, 30, 21, 14, 10, 7, 5]
    assert all(mask.any() for mask in stats.shots().values())
    assert torch.bincount(splits.test.targets.primary).tolist() == [50] * 10
    assert (splits.in_channels, splits.names[3], splits.val, splits.skipped) == (1, "three", None, 0)
    assert splits.train.images.shape[1:] == (1, 8, 8)
    assert (splits.train.images.min(), splits.train.images.max()) == (0, 255)


def test_digits_never_change_and_share_no_image_between_splits() -> None:
    first = DigitsLT(validation_per_class=10).open(CPU)
    torch.manual_seed(3)
    np.random.seed(3)
    again = DigitsLT(validation_per_class=10).open(CPU)
    assert same(first, again)
    assert first.val is not None
    assert torch.bincount(first.val.targets.primary).tolist() == [10] * 10
    everything = torch.cat([store.images for store in (first.train, first.val, first.test)])
    assert len(torch.unique(everything.flatten(1), dim=0)) == len(everything)


def test_normalisation_in_the_yaml_is_that_of_the_digits() -> None:
    node = OmegaConf.load(CONF / "digits_lt.yaml").dataset
    splits = DigitsLT(profile="as_is").open(CPU)
    pixels = torch.cat([splits.train.images, splits.test.images]).double() / 255
    assert pixels.mean().item() == pytest.approx(node.mean[0], abs=1e-3)
    assert pixels.std().item() == pytest.approx(node.std[0], abs=1e-3)


# CIFAR, small and made up


@pytest.mark.parametrize(
    "layout", ["{root}/x", "{root}/data/x", "{root}/cifar10/x", "{root}/cifar-10/data/x", "{root}/cifar10/cifar10/x"]
)
@pytest.mark.parametrize("image", ["img", "image"])
def test_parquet_is_found_wherever_people_put_it(tmp_path: Path, layout: str, image: str) -> None:
    folder = Path(layout.format(root=tmp_path)).parent
    images, labels = random_images(40), np.tile(np.arange(10), 4)
    cells = [encoded(pixels) for pixels in images]
    write_parquet(folder / "train-00000-of-00002.parquet", cells[:15], labels[:15].tolist(), image, "label")
    write_parquet(folder / "train-00001-of-00002.parquet", cells[15:], labels[15:].tolist(), image, "label")
    write_parquet(folder / "test-00000-of-00001.parquet", cells, labels.tolist(), image, "label")
    splits = CIFARLT(10, str(tmp_path), profile="as_is").open(CPU)
    assert (images_of(splits.test) == images).all()
    assert splits.test.targets.primary.tolist() == labels.tolist()
    assert len(splits.train) == 40
    assert splits.names[0] == "airplane"


def test_parquet_pixels_and_labels_stay_together(tmp_path: Path) -> None:
    images, labels = cifar_parquet(tmp_path)
    splits = CIFARLT(10, str(tmp_path), imbalance=4, validation_per_class=2).open(CPU)
    where = {pixels.tobytes(): row for row, pixels in enumerate(images)}
    rows = [where[pixels.tobytes()] for pixels in images_of(splits.train)]
    assert labels[rows].tolist() == splits.train.targets.primary.tolist()
    assert splits.val is not None
    assert len(splits.val) == 20
    assert not {where[pixels.tobytes()] for pixels in images_of(splits.val)} & set(rows)


def test_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    cifar_parquet(tmp_path / "here")
    assert len(CIFARLT(10, "~/here", profile="as_is").open(CPU).train) == 120


@pytest.fixture
def release(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Makes ltrun hold small made-up files for the official CIFAR-10; returns them."""
    fake, files = fake_release()
    monkeypatch.setitem(RELEASES, 10, fake)
    return files


@pytest.mark.parametrize("below", ["", "cifar-10-batches-py", "cifar10/cifar-10-batches-py"])
def test_official_files_are_read_from_their_folder_or_its_parent(tmp_path: Path, release: dict[str, bytes], below: str) -> None:
    folder = tmp_path / below
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in release.items():
        (folder / name).write_bytes(content)
    splits = CIFARLT(10, str(tmp_path), profile="as_is", download=False).open(CPU)
    assert len(splits.train) == 200
    assert (images_of(splits.test) == random_images(40, seed=5)).all()


@pytest.fixture
def archived(tmp_path: Path, release: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An archive of those files, at the address from which ltrun downloads."""
    path = tmp_path / "server" / RELEASES[10].archive
    monkeypatch.setitem(RELEASES, 10, write_archive(path, RELEASES[10], release))
    yield path


def test_the_archive_is_downloaded_where_nothing_is_there(tmp_path: Path, archived: Path) -> None:
    root = tmp_path / "new" / "data"
    splits = CIFARLT(10, str(root), profile="as_is").open(CPU)
    assert len(splits.train) == 200
    assert [path.name for path in root.iterdir()] == ["cifar-10-batches-py"]
    archived.unlink()
    assert same(splits, CIFARLT(10, str(root), profile="as_is").open(CPU))


def test_an_archive_that_is_there_is_unpacked(tmp_path: Path, archived: Path) -> None:
    splits = CIFARLT(10, str(archived.parent), profile="as_is", download=False).open(CPU)
    assert len(splits.train) == 200
    assert (archived.parent / "cifar-10-batches-py" / "data_batch_1").is_file()


def test_class_folders_serve_as_cifar_and_say_what_is_lost(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    counts = dict.fromkeys(RELEASES[10].names, 6)
    class_folders(tmp_path / "train", counts)
    class_folders(tmp_path / "test", counts, seed=100)
    splits = CIFARLT(10, str(tmp_path), imbalance=3).open(CPU)
    assert splits.stats.counts.tolist()[0] == 6
    assert splits.stats.counts.tolist()[-1] == 2
    assert torch.bincount(splits.test.targets.primary).tolist() == [6] * 10
    assert "order" in caplog.text


# Real CIFAR-100


@pytest.fixture(scope="module")
def from_parquet(cifar100_root: Path, real_cache: Path) -> Splits:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LTRUN_CACHE", str(real_cache))
        return CIFARLT(100, str(cifar100_root), imbalance=1).open(CPU)


def test_all_of_cifar100(from_parquet: Splits) -> None:
    assert (len(from_parquet.train), len(from_parquet.test)) == (50_000, 10_000)
    levels = np.arange(256) / 255
    for channel, mean, std in zip(range(3), (0.50708, 0.48655, 0.44092), (0.26733, 0.25644, 0.27615), strict=True):
        share = np.bincount(from_parquet.train.images[:, channel].flatten().numpy(), minlength=256) / (50_000 * 1024)
        assert (share * levels).sum() == pytest.approx(mean, abs=1e-5)
        assert np.sqrt((share * levels**2).sum() - (share * levels).sum() ** 2) == pytest.approx(std, abs=1e-5)
    assert torch.bincount(from_parquet.test.targets.primary).tolist() == [100] * 100


def test_official_pickles_hold_the_same_pixels(from_parquet: Splits, cifar100_root: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, cifar100_root / "unpack.py", tmp_path], check=True, capture_output=True)
    for root in (tmp_path, tmp_path / "cifar-100-python"):
        assert same(from_parquet, CIFARLT(100, str(root), imbalance=1, download=False).open(CPU))


def test_a_second_run_decodes_nothing(
    from_parquet: Splits, cifar100_root: Path, real_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LTRUN_CACHE", str(real_cache))
    monkeypatch.setattr(decoding, "_decode", None)
    splits = CIFARLT(100, str(cifar100_root.parent), imbalance=100).open(CPU)  # and it is found in cifar100/ below root
    assert len(splits.train) == 10_847


# Class folders


def test_folders_with_a_test_split(tmp_path: Path) -> None:
    class_folders(tmp_path / "train", {"cat": 9, "ant": 4, "bee": 2})
    class_folders(tmp_path / "test", {"cat": 1, "ant": 2, "bee": 3}, seed=50)
    splits = ImageFolder(str(tmp_path), image_size=32).open(CPU)
    assert splits.names == ("ant", "bee", "cat")
    assert splits.stats.counts.tolist() == [4, 2, 9]
    assert torch.bincount(splits.test.targets.primary).tolist() == [2, 3, 1]
    assert (splits.in_channels, splits.val) == (3, None)


def test_val_is_the_test_split_only_where_there_is_no_other(tmp_path: Path) -> None:
    class_folders(tmp_path / "train", {"a": 4, "b": 4})
    class_folders(tmp_path / "val", {"a": 2, "b": 2}, seed=50)
    splits = ImageFolder(str(tmp_path), image_size=32).open(CPU)
    assert (len(splits.train), splits.val, len(splits.test)) == (8, None, 4)
    class_folders(tmp_path / "test", {"a": 3, "b": 3}, seed=70)
    splits = ImageFolder(str(tmp_path), image_size=32).open(CPU)
    assert splits.val is not None
    assert (len(splits.train), len(splits.val), len(splits.test)) == (8, 4, 6)


@pytest.mark.parametrize("below", ["", "train"])
def test_without_a_test_folder_a_fifth_is_held_out(tmp_path: Path, below: str) -> None:
    class_folders(tmp_path / below, {"a": 40, "b": 10, "c": 2})
    splits = ImageFolder(str(tmp_path), image_size=32).open(CPU)
    assert splits.stats.counts.tolist() == [32, 8, 1]
    assert torch.bincount(splits.test.targets.primary).tolist() == [8, 2, 1]
    everything = torch.cat([splits.train.images, splits.test.images])
    assert len(torch.unique(everything.flatten(1), dim=0)) == 52
    assert same(splits, ImageFolder(str(tmp_path), image_size=32).open(CPU))


def test_numbers_sort_as_numbers_and_only_numbers_do(tmp_path: Path) -> None:
    class_folders(tmp_path / "n", dict.fromkeys(["10", "2", "1", "100"], 2))
    class_folders(tmp_path / "m", dict.fromkeys(["10", "2", "b1", "B2"], 2))
    assert ImageFolder(str(tmp_path / "n"), image_size=4).open(CPU).names == ("1", "2", "10", "100")
    assert ImageFolder(str(tmp_path / "m"), image_size=4).open(CPU).names == ("10", "2", "B2", "b1")


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    class_folders(tmp_path, {"bus": 4, "train": 4})
    assert ImageFolder(str(tmp_path), image_size=4).open(CPU).names == ("bus", "train")


def test_folders_can_be_made_long_tailed(tmp_path: Path) -> None:
    class_folders(tmp_path, dict.fromkeys("abc", 20), size=4)
    splits = ImageFolder(str(tmp_path), image_size=4, profile="step", imbalance=8).open(CPU)
    assert splits.stats.counts.tolist() == [16, 2, 2]


def test_other_files_do_not_count(tmp_path: Path) -> None:
    class_folders(tmp_path, {"a": 3, "b": 3})
    (tmp_path / "README.txt").write_text("x")
    (tmp_path / "a" / "Thumbs.db").write_text("x")
    (tmp_path / "a" / ".hidden.png").write_text("x")
    (tmp_path / ".git").mkdir()
    (tmp_path / "__MACOSX").mkdir()
    splits = ImageFolder(str(tmp_path), image_size=4).open(CPU)
    assert (splits.names, len(splits.train) + len(splits.test), splits.skipped) == (("a", "b"), 6, 0)


RED = np.full((40, 40, 3), (200, 30, 10), dtype=np.uint8)


def kinds_of_image() -> dict[str, tuple[Image.Image, str, dict[str, object], tuple[int, int, int]]]:
    """name: image, file name, options of saving, colour it must show."""
    red = Image.fromarray(RED)
    palette = red.convert("P", palette=Image.Palette.ADAPTIVE)
    rotated = Image.new("RGB", (80, 40))
    rotated.paste(red, (20, 0))
    exif = Image.Exif()
    exif[0x0112] = 6
    clear = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
    deep = Image.fromarray(np.full((40, 40), 128 * 256 + 77, dtype=np.uint16))
    return {
        "RGB": (red, "x.png", {}, (200, 30, 10)),
        "JPEG": (red, "x.JPG", {"quality": 95}, (200, 30, 10)),
        "WebP": (red, "x.webp", {"lossless": True}, (200, 30, 10)),
        "GIF": (palette, "x.gif", {}, (200, 30, 10)),
        "palette": (palette, "x.png", {}, (200, 30, 10)),
        "grey": (red.convert("L"), "x.png", {}, (79, 79, 79)),
        "one bit": (Image.new("1", (40, 40), 1), "x.png", {}, (255, 255, 255)),
        "16-bit grey": (deep, "x.png", {}, (128, 128, 128)),
        "16-bit TIFF": (deep, "x.tif", {}, (128, 128, 128)),
        "CMYK": (Image.new("CMYK", (40, 40), (0, 255, 255, 0)), "x.jpg", {"quality": 95}, (254, 0, 0)),
        "transparent": (clear, "x.png", {}, (255, 255, 255)),
        "grey and alpha": (Image.new("LA", (40, 40), (90, 255)), "x.png", {}, (90, 90, 90)),
        "EXIF-rotated": (rotated, "x.jpg", {"exif": exif, "quality": 95}, (200, 30, 10)),
    }


@pytest.mark.parametrize("kind", kinds_of_image())
def test_every_kind_of_image_becomes_rgb(tmp_path: Path, kind: str) -> None:
    image, name, options, colour = kinds_of_image()[kind]
    class_folders(tmp_path, {"a": 2, "b": 2})
    image.save(tmp_path / "b" / name, **options)
    folder = ImageFolder(str(tmp_path), image_size=16, profile="as_is").open(CPU)
    stored = np.concatenate([images_of(folder.train), images_of(folder.test)])
    distance = np.abs(stored.astype(int) - np.array(colour)).mean(axis=(1, 2, 3))
    assert distance.min() < 4


def test_exif_rotation_is_undone(tmp_path: Path) -> None:
    upper_white = np.zeros((32, 32, 3), dtype=np.uint8)
    upper_white[:16] = 255
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    class_folders(tmp_path / "train", {"a": 1, "b": 1})
    class_folders(tmp_path / "test", {"a": 1})
    (tmp_path / "test" / "b").mkdir()
    Image.fromarray(upper_white).save(tmp_path / "test" / "b" / "x.jpg", exif=exif)
    shown = images_of(ImageFolder(str(tmp_path), image_size=32).open(CPU).test)[1]
    assert shown[:14].max() < 10
    assert shown[18:].min() > 245


def test_the_centre_square_is_kept(tmp_path: Path) -> None:
    wide = np.zeros((20, 60, 3), dtype=np.uint8)
    wide[:, 20:40] = (10, 200, 30)
    class_folders(tmp_path / "train", {"a": 1, "b": 1})
    class_folders(tmp_path / "test", {"a": 1})
    for name, pixels in (("wide", wide), ("tall", wide.transpose(1, 0, 2))):
        (tmp_path / "test" / "b").mkdir(exist_ok=True)
        (tmp_path / "test" / "b" / f"{name}.png").write_bytes(encoded(np.ascontiguousarray(pixels)))
    shown = images_of(ImageFolder(str(tmp_path), image_size=20).open(CPU).test)[1:]
    assert (shown == (10, 200, 30)).all()


def test_a_large_photo_keeps_its_look(tmp_path: Path) -> None:
    """JPEG decoding skips detail for speed; the result is that of full decoding to within a few grey levels."""
    x, y = np.meshgrid(np.linspace(0, 255, 1200), np.linspace(0, 255, 900))
    photo = np.stack([x, y, 255 - x], axis=2).astype(np.uint8)
    class_folders(tmp_path / "train", {"a": 1, "b": 1})
    class_folders(tmp_path / "test", {"a": 1})
    (tmp_path / "test" / "b").mkdir()
    (tmp_path / "test" / "b" / "x.jpg").write_bytes(encoded(photo, "JPEG", quality=95))
    shown = images_of(ImageFolder(str(tmp_path), image_size=64).open(CPU).test)[1]
    full = Image.fromarray(photo).crop((150, 0, 1050, 900)).resize((64, 64), Image.Resampling.BICUBIC)
    assert np.abs(shown.astype(int) - np.asarray(full)).mean() < 2


# The configuration


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_yaml_builds_a_source_and_offers_its_arguments_as_keys(path: Path) -> None:
    node = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    bound = source_of(node)
    assert bound.build({}).name == node["dataset"]["name"] == path.stem
    offered = set(inspect.signature(bound.target).parameters)
    assert offered == set(bound.arguments) == set(node["dataset"]) - {"_target_", *DATASET_KEYS}
    assert len(node["dataset"]["mean"]) == len(node["dataset"]["std"]) == (1 if path.stem == "digits_lt" else 3)
    assert path.read_text().startswith("# @package _global_\n# ")


def test_official_digests_are_those_of_torchvision() -> None:
    from torchvision.datasets import CIFAR10, CIFAR100

    for classes, reference in ((10, CIFAR10), (100, CIFAR100)):
        release = RELEASES[classes]
        assert (release.url, release.md5, release.folder) == (reference.url, reference.tgz_md5, reference.base_folder)
        assert list(release.train.items()) == [tuple(pair) for pair in reference.train_list]
        assert list(release.test.items()) == [tuple(pair) for pair in reference.test_list]
        assert len(release.names) == classes


def test_class_names_are_the_official_ones(cifar100_root: Path) -> None:
    meta = (cifar100_root / "meta").read_bytes()
    assert hashlib.md5(meta).hexdigest() == "7973b15100ade9c7d40fb424638fde48"
    assert tuple(word.decode() for word in unpickle(meta, cifar100_root / "meta")[b"fine_label_names"]) == RELEASES[100].names


def test_the_package_imports_no_decoder_and_no_downloader() -> None:
    """Each of these takes half a second to two; only the data set that needs it pays."""
    heavy = ("torchvision", "sklearn", "pyarrow", "PIL", "pandas")
    code = f"import sys, ltrun.data; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_folders_of_splits_may_be_written_in_capitals(tmp_path: Path) -> None:
    class_folders(tmp_path / "Train", {"a": 4, "b": 3})
    class_folders(tmp_path / "TEST", {"a": 2, "b": 2})
    splits = ImageFolder(str(tmp_path), image_size=32).open(CPU)
    assert (len(splits.train), len(splits.test), splits.val) == (7, 4, None)


def test_a_validation_folder_alone_is_the_test_split_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class_folders(tmp_path / "train", {"a": 4, "b": 3})
    class_folders(tmp_path / "val", {"a": 2, "b": 2})
    with caplog.at_level("INFO"):
        splits = ImageFolder(str(tmp_path), image_size=32).open(CPU)
    assert (len(splits.test), splits.val) == (4, None)
    assert f"{tmp_path / 'val'} is the test split, because there is no test folder" in caplog.text
