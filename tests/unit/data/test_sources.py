"""Data sets in every form: the splits that `open` returns."""

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

from ltrun.data import CIFARLT, DigitsLT, Resident, Splits
from ltrun.data import images as decoding
from ltrun.data.official import unpickle
from ltrun.data.releases import RELEASES
from ltrun.errors import ConfigError
from ltrun.recipe.read import source_of
from ltrun.taxonomy import DATASET_KEYS
from ltrun.types import Labels
from tests.support.data_fakes import (
    cifar_parquet,
    class_folders,
    encoded,
    fake_release,
    images_of,
    pixels_of,
    random_images,
    same,
    write_archive,
    write_parquet,
)
from tests.support.narrow import of_type

CPU = torch.device("cpu")
CONF = Path(__file__).parents[3] / "conf" / "dataset"


pytestmark = pytest.mark.usefixtures("own_cache")


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
        assert torch.equal(batch.targets.labels, rows % 4)
    assert list(store.open([])) == []


def test_batches_do_not_alias_the_store() -> None:
    store = Resident(torch.zeros(4, 1, 2, 2, dtype=torch.uint8), Labels.hard(torch.arange(4)))
    next(store.open([torch.tensor([1, 2])])).inputs.fill_(7)
    assert store.images.sum() == 0


@pytest.mark.parametrize("index", [None, torch.tensor([9, 8, 7, 6, 5, 4, 3, 2, 1, 0])])
def test_a_late_batch_gathers_what_is_read_when_it_is_read(index: torch.Tensor | None) -> None:
    images = torch.arange(10, dtype=torch.uint8)[:, None, None, None].expand(10, 3, 2, 2).contiguous()
    store, rows = Resident(images, Labels.hard(torch.arange(10) % 4), index), torch.tensor([3, 3, 9])
    (now,), (late,) = store.open([rows]), store.open([rows], late=True)
    copy, changed = late.clone(), late.replace(inputs=now.inputs + 1)
    assert torch.equal(changed.inputs, now.inputs + 1) and torch.equal(changed.targets.labels, now.targets.labels)
    pixels, places = late.source
    assert places is not None and pixels is store.pixels and torch.equal(pixels[places], now.inputs)
    assert len(late) == len(now) == 3 and [tensor.tolist() for tensor in late.tensors()] == [rows.tolist()]
    assert "inputs" not in vars(late), "not read yet"
    assert torch.equal(late.inputs, now.inputs) and torch.equal(late.targets.labels, now.targets.labels)
    copy.rows.fill_(0)
    assert copy.inputs.unique().tolist() == [0 if index is None else 9], "a copy gathers for itself"
    assert all(torch.equal(*pair) for pair in zip(late.replace().tensors(), now.tensors(), strict=True))
    pixels, places = now.source
    assert places is None and pixels is now.inputs


# Digits


def test_digits_are_balanced_in_test_and_long_tailed_in_training() -> None:
    splits = DigitsLT().open(CPU)
    stats = splits.stats
    assert stats.counts.tolist() == [128, 89, 62, 43, 30, 21, 14, 10, 7, 5]
    assert all(mask.any() for mask in stats.shots().values())
    assert torch.bincount(splits.test.targets.labels).tolist() == [50] * 10
    assert (splits.input_shape[0], splits.names[3], splits.val, splits.skipped) == (1, "three", None, 0)
    assert pixels_of(splits.train).shape[1:] == (1, 8, 8)
    assert (pixels_of(splits.train).min(), pixels_of(splits.train).max()) == (0, 255)


def test_digits_never_change_and_share_no_image_between_splits() -> None:
    first = DigitsLT(validation_per_class=10).open(CPU)
    torch.manual_seed(3)
    np.random.seed(3)
    again = DigitsLT(validation_per_class=10).open(CPU)
    assert same(first, again)
    assert first.val is not None
    assert torch.bincount(first.val.targets.labels).tolist() == [10] * 10
    everything = torch.cat([pixels_of(store) for store in (first.train, first.val, first.test)])
    assert len(torch.unique(everything.flatten(1), dim=0)) == len(everything)


def test_the_yaml_of_the_digits_holds_their_mean_and_standard_deviation() -> None:
    node = OmegaConf.load(CONF / "digits_lt.yaml").dataset
    splits = DigitsLT(profile="as_is").open(CPU)
    pixels = torch.cat([pixels_of(splits.train), pixels_of(splits.test)]).double() / 255
    assert pixels.mean().item() == pytest.approx(node.prepare.mean[0], abs=1e-3)
    assert pixels.std().item() == pytest.approx(node.prepare.std[0], abs=1e-3)


# Small made-up CIFAR


@pytest.mark.parametrize(
    "layout", ["{root}/x", "{root}/data/x", "{root}/cifar10/x", "{root}/cifar-10/data/x", "{root}/cifar10/cifar10/x"]
)
@pytest.mark.parametrize("image", ["img", "image"])
def test_parquet_is_found_in_every_usual_folder(tmp_path: Path, layout: str, image: str) -> None:
    folder = Path(layout.format(root=tmp_path)).parent
    images, labels = random_images(40), np.tile(np.arange(10), 4)
    cells = [encoded(pixels) for pixels in images]
    write_parquet(folder / "train-00000-of-00002.parquet", cells[:15], labels[:15].tolist(), image, "label")
    write_parquet(folder / "train-00001-of-00002.parquet", cells[15:], labels[15:].tolist(), image, "label")
    write_parquet(folder / "test-00000-of-00001.parquet", cells, labels.tolist(), image, "label")
    splits = CIFARLT(10, str(tmp_path), profile="as_is").open(CPU)
    assert (images_of(splits.test) == images).all()
    assert splits.test.targets.labels.tolist() == labels.tolist()
    assert len(splits.train) == 40
    assert splits.names[0] == "airplane"


def test_parquet_pixels_and_labels_stay_together(tmp_path: Path) -> None:
    images, labels = cifar_parquet(tmp_path)
    splits = CIFARLT(10, str(tmp_path), imbalance=4, validation_per_class=2).open(CPU)
    where = {pixels.tobytes(): row for row, pixels in enumerate(images)}
    rows = [where[pixels.tobytes()] for pixels in images_of(splits.train)]
    assert labels[rows].tolist() == splits.train.targets.labels.tolist()
    assert splits.val is not None
    assert len(splits.val) == 20
    assert not {where[pixels.tobytes()] for pixels in images_of(splits.val)} & set(rows)


def test_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    cifar_parquet(tmp_path / "here")
    assert len(CIFARLT(10, "~/here", profile="as_is").open(CPU).train) == 120


@pytest.fixture
def release(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Makes ltrun take small made-up files for the official CIFAR-10; returns name -> content."""
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
    """Returns an archive of the made-up files, at the address from which ltrun downloads."""
    path = tmp_path / "server" / RELEASES[10].archive
    monkeypatch.setitem(RELEASES, 10, write_archive(path, RELEASES[10], release))
    yield path


def test_without_data_the_archive_is_downloaded(tmp_path: Path, archived: Path) -> None:
    root = tmp_path / "new" / "data"
    splits = CIFARLT(10, str(root), profile="as_is").open(CPU)
    assert len(splits.train) == 200
    assert [path.name for path in root.iterdir()] == ["cifar-10-batches-py"]
    archived.unlink()
    assert same(splits, CIFARLT(10, str(root), profile="as_is").open(CPU))


def test_an_archive_in_the_root_is_unpacked(tmp_path: Path, archived: Path) -> None:
    splits = CIFARLT(10, str(archived.parent), profile="as_is", download=False).open(CPU)
    assert len(splits.train) == 200
    assert (archived.parent / "cifar-10-batches-py" / "data_batch_1").is_file()


def test_class_folders_serve_as_cifar_with_a_warning_about_their_order(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    counts = dict.fromkeys(RELEASES[10].names, 6)
    class_folders(tmp_path / "train", counts)
    class_folders(tmp_path / "test", counts, seed=100)
    splits = CIFARLT(10, str(tmp_path), imbalance=3).open(CPU)
    assert splits.stats.counts.tolist()[0] == 6
    assert splits.stats.counts.tolist()[-1] == 2
    assert torch.bincount(splits.test.targets.labels).tolist() == [6] * 10
    assert "order" in caplog.text


# Real CIFAR-100


@pytest.fixture(scope="module")
def from_parquet(cifar100_root: Path, cache: Path) -> Splits:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LTRUN_CACHE", str(cache))
        return CIFARLT(100, str(cifar100_root), imbalance=1).open(CPU)


@pytest.mark.slow
def test_cifar100_has_its_known_sizes_means_and_deviations(from_parquet: Splits) -> None:
    assert (len(from_parquet.train), len(from_parquet.test)) == (50_000, 10_000)
    levels = np.arange(256) / 255
    for channel, mean, std in zip(range(3), (0.50708, 0.48655, 0.44092), (0.26733, 0.25644, 0.27615), strict=True):
        share = np.bincount(pixels_of(from_parquet.train)[:, channel].flatten().numpy(), minlength=256) / (50_000 * 1024)
        assert (share * levels).sum() == pytest.approx(mean, abs=1e-5)
        assert np.sqrt((share * levels**2).sum() - (share * levels).sum() ** 2) == pytest.approx(std, abs=1e-5)
    assert torch.bincount(from_parquet.test.targets.labels).tolist() == [100] * 100


@pytest.mark.slow
def test_official_pickles_hold_the_same_pixels(from_parquet: Splits, cifar100_root: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, cifar100_root / "unpack.py", tmp_path], check=True, capture_output=True)
    for root in (tmp_path, tmp_path / "cifar-100-python"):
        assert same(from_parquet, CIFARLT(100, str(root), imbalance=1, download=False).open(CPU))


@pytest.mark.slow
def test_a_second_run_decodes_nothing(
    from_parquet: Splits, cifar100_root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LTRUN_CACHE", str(cache))
    monkeypatch.setattr(decoding, "_decode", None)
    splits = CIFARLT(100, str(cifar100_root.parent), imbalance=100).open(CPU)  # found in cifar100/ below the root
    assert len(splits.train) == 10_847


# The configuration


def test_a_data_set_in_the_old_layout_of_keys_is_refused_with_the_new_layout() -> None:
    with pytest.raises(ConfigError, match=r"dataset\.source: .*move _target_"):
        source_of({"dataset": {"name": "mine", "source": {"_target_": "ltrun.data.DigitsLT"}, "mean": [0.3], "std": [0.4]}})


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_yaml_builds_a_source_and_offers_its_arguments_as_keys(path: Path) -> None:
    node = of_type(dict, OmegaConf.to_container(OmegaConf.load(path), resolve=True))
    bound = source_of(node)
    assert node["dataset"]["name"] == path.stem
    offered = set(inspect.signature(bound.target).parameters)
    assert (
        offered - {"random_crops", "reads_unlabelled", "device_decodes", "task"}
        == set(bound.arguments)
        == set(node["dataset"]) - {"_target_", *DATASET_KEYS}
    )
    prepare = node["dataset"]["prepare"]
    if "mean" in prepare:
        assert len(prepare["mean"]) == len(prepare["std"]) == (1 if path.stem.startswith("digits") else 3)
    assert path.read_text().startswith("# @package _global_\n# ")


def test_official_digests_agree_with_torchvision() -> None:
    from torchvision.datasets import CIFAR10, CIFAR100

    for classes, reference in ((10, CIFAR10), (100, CIFAR100)):
        release = RELEASES[classes]
        assert (release.url, release.md5, release.folder) == (reference.url, reference.tgz_md5, reference.base_folder)
        assert list(release.train.items()) == [tuple(pair) for pair in reference.train_list]
        assert list(release.test.items()) == [tuple(pair) for pair in reference.test_list]
        assert len(release.names) == classes


def test_class_names_equal_the_official_names(cifar100_root: Path) -> None:
    meta = (cifar100_root / "meta").read_bytes()
    assert hashlib.md5(meta).hexdigest() == "7973b15100ade9c7d40fb424638fde48"
    assert tuple(word.decode() for word in unpickle(meta, cifar100_root / "meta")[b"fine_label_names"]) == RELEASES[100].names


def test_the_package_imports_no_decoder_and_no_downloader() -> None:
    """Each import takes half a second to two seconds; only the data set that needs it should pay."""
    heavy = ("torchvision", "sklearn", "pyarrow", "PIL", "pandas")
    code = f"import sys, ltrun.data; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
