"""Random crops of streamed photographs: the same in whatever process they are decoded, and as Pillow cuts them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from ltrun.augmentation import CropFlip, Flip, RandomResizedCrop
from ltrun.data import ImageFolder, Streamed
from ltrun.data.crop import RandomCrop, drawn, uniform
from ltrun.data.decoders import Decoders
from ltrun.engine.cuts import cut_while_decoding
from ltrun.errors import ConfigError, DataError
from tests.support.data_fakes import CPU
from tests.support.narrow import of_type
from tests.unit.data.test_views import encoded, picture

pytestmark = pytest.mark.usefixtures("own_cache")
CROP = RandomCrop(16)
PLAN = [torch.tensor([0, 5, 0]), torch.tensor([3, 1])]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for row in range(8):
        for split in ("train", "test"):
            path = tmp_path / "photos" / split / ("ant", "bee")[row % 2] / f"{row}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(picture(90 + row, 64, seed=row)))
    return tmp_path / "photos"


def opened(photos: Path, workers: int = 0) -> Streamed:
    source = ImageFolder(str(photos), 16, resize=20, workers=workers, random_crops=True)
    return of_type(Streamed, source.open(CPU).train)


def cut(store: Streamed, seed: int = 5) -> list[Tensor]:
    return [batch.inputs for batch in store.open(PLAN, cuts=drawn(CROP, seed, PLAN))]


def test_crops_are_cut_from_whole_photographs(photos: Path) -> None:
    store = opened(photos)
    (draws, _), found = drawn(CROP, 5, PLAN), cut(store)
    for row, numbers, pixels in zip(PLAN[0].tolist(), uniform(draws.keys), found[0], strict=True):
        with Image.open(photos / store.files[row]) as image:
            top, left, height, width = CROP.box(image.height, image.width, numbers)
            box = (left, top, left + width, top + height)
            wanted = np.asarray(image.crop(box).resize((16, 16), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
        assert np.abs(pixels.numpy().astype(int) - wanted).max() <= 2
    assert not torch.equal(found[0][0], found[0][2]), "a photograph drawn twice in an epoch is cut anew"


@pytest.mark.parametrize("workers", [1, 2])
def test_crops_are_the_same_in_workers(photos: Path, workers: int) -> None:
    for found, expected in zip(cut(opened(photos, workers)), cut(opened(photos)), strict=True):
        assert torch.equal(found, expected)


def test_another_seed_cuts_otherwise_and_evaluation_cuts_the_centre(photos: Path) -> None:
    store = opened(photos)
    assert not torch.equal(cut(store)[0], cut(store, seed=6)[0])
    plain, again = (torch.cat([batch.inputs for batch in store.open(PLAN)]) for _ in range(2))
    assert torch.equal(plain, again) and torch.equal(plain[0], plain[2])


def test_a_device_that_decodes_gives_the_pixels_of_the_workers(photos: Path) -> None:
    (photos / "train" / "ant" / "0.jpg").write_bytes(encoded(picture(), "PNG"))
    store = opened(photos)
    plans = (drawn(CROP, 5, PLAN), None)
    wanted = [batch.inputs for cuts in plans for batch in store.open(PLAN, cuts=cuts)]
    store.decoders = Decoders(store.decoders.images.container, store.decoders.images.how, 0, False, device=CPU)
    found = [batch.inputs for cuts in plans for batch in store.open(PLAN, cuts=cuts)]
    assert all(torch.equal(*pair) for pair in zip(found, wanted, strict=True))


@pytest.mark.parametrize("device", [None, CPU])
def test_a_damaged_photograph_is_named(photos: Path, device: torch.device | None) -> None:
    file = photos / "train" / "bee" / "5.jpg"
    file.write_bytes(file.read_bytes()[:1200])
    store = opened(photos)
    store.decoders = Decoders(store.decoders.images.container, store.decoders.images.how, 0, False, device=device)
    with pytest.raises(DataError, match=r"bee/5\.jpg cannot be read \(.*truncated"):
        list(store.open([torch.arange(8)], cuts=drawn(CROP, 5, [torch.arange(8)])))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_disk_that_goes_away_says_how_to_go_on(photos: Path, workers: int) -> None:
    store = opened(photos, workers)
    photos.rename(photos.parent / "unmounted")
    with pytest.raises(DataError, match=r"cannot be read any more \(No such file or directory\): .* resumes the run"):
        cut(store)


def test_decoded_photographs_are_refused_where_whole_ones_are_cut() -> None:
    with pytest.raises(ConfigError, match=r"streamed is false, .* give dataset\.streamed=auto"):
        ImageFolder("x", streamed=False, random_crops=True)


def test_a_crop_of_whole_photographs_comes_first(photos: Path) -> None:
    store, crop, flip = opened(photos), RandomResizedCrop(16), Flip()
    assert cut_while_decoding([crop, flip], store) == (crop.crop, [flip])
    assert cut_while_decoding([flip], store) == (None, [flip])
    for chain in ([flip, crop], [crop, RandomResizedCrop(8)], [CropFlip(), crop]):
        with pytest.raises(ConfigError, match=r"RandomResizedCrop cuts whole photographs .* must come first"):
            cut_while_decoding(chain, store)
