"""Sheet of augmented training images: a row for each class, from many images to few, and a column for each draw."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ltrun.config.settings import Settings
from ltrun.data.crop import drawn
from ltrun.engine.assembly import augments_of
from ltrun.engine.context import RunContext
from ltrun.engine.cuts import cut_while_decoding
from ltrun.errors import ConfigError
from ltrun.recipe.stage import MAIN, Recipe
from ltrun.types import seed_of

ROWS, DRAWS = 12, 8
SMALLEST, LARGEST = 64, 128  # pixels of an image's longer side on the sheet
GAP, TOP, LEFT, LETTERS = 4, 20, 150, 20  # pixels between images, of the heading and of the labels; letters of a label


@dataclass(frozen=True)
class Column:
    """images: (R, channels, H, W) uint8, one for each row of the sheet."""

    title: str
    images: Tensor


def sheet_of(settings: Settings, recipe: Recipe, warn: Callable[[str], None]) -> bytes:
    """Returns a PNG of images of the training set, as stored and as the first stage augments them.

    Columns are draws, or the strengths of an augmentation that has several. Raises LtrunError, for one if the data set holds no
    images of one or three channels.
    """
    context = RunContext.open(settings, recipe, torch.device("cpu"), warn)
    if len(context.input_shape) != 3 or context.input_shape[0] not in (1, 3):
        raise ConfigError(
            f"--show draws grey or coloured images, and dataset={settings.dataset.name} holds inputs of shape "
            f"{tuple(context.input_shape)}"
        )
    counts = context.stats.counts
    ranked = counts.argsort(descending=True, stable=True)[: int((counts > 0).sum())]
    some = torch.linspace(0, len(ranked) - 1, min(ROWS, len(ranked))).round().long()
    classes = ranked[some].tolist()
    labels = context.splits.train.targets.labels.cpu()
    first = torch.stack([(labels == label if labels.ndim == 1 else labels[:, label]).nonzero()[0, 0] for label in classes])
    names = context.stats.names or tuple(map(str, range(len(counts))))
    return drawing([label_of(names[label], int(counts[label])) for label in classes], columns_of(context, recipe, first))


def label_of(name: str, images: int) -> str:
    """Returns the label of a class's row: its name, and its number of training images on a second line."""
    return f"{name}\n{images:,} image{'s' if images > 1 else ''}"


@torch.no_grad()
def columns_of(context: RunContext, recipe: Recipe, rows: Tensor) -> list[Column]:
    """Returns the images of some rows as stored, then augmented: once for each strength, or DRAWS times."""
    store, stage = context.splits.train, recipe.stages[0]
    crop, augments = cut_while_decoding(augments_of(stage, MAIN, context.injected()), store)
    graded = [part for part in augments if part.levels > 1]
    found = [Column("original", next(iter(store.open([rows]))).inputs)]
    for draw in range(max(part.levels for part in graded) if graded else DRAWS):
        torch.manual_seed(seed_of(context.seed, "sheet", draw))
        cuts = drawn(crop, seed_of(context.seed, "sheet", draw, "crops"), [rows]) if crop else None
        batch = next(iter(store.open([rows], cuts=cuts)))
        for part in graded:
            part.level_given = torch.full((len(rows),), min(draw, part.levels - 1))
        for part in augments:
            batch = part(batch)
        found.append(Column(f"level {draw}" if graded else f"draw {draw + 1}", batch.inputs))
    return found


def drawing(labels: Sequence[str], columns: Sequence[Column]) -> bytes:
    """Returns a PNG: a title above each column, a label before each row. Small images are enlarged by whole factors."""
    from PIL import Image, ImageDraw

    height, width = columns[0].images.shape[2:]
    factor = max(1, SMALLEST // max(height, width)) if max(height, width) <= LARGEST else LARGEST / max(height, width)
    cell = round(width * factor), round(height * factor)
    how = Image.Resampling.NEAREST if factor >= 1 else Image.Resampling.BILINEAR
    size = LEFT + len(columns) * (cell[0] + GAP), TOP + len(labels) * (cell[1] + GAP)
    page = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(page)
    for across, column in enumerate(columns):
        x = LEFT + across * (cell[0] + GAP)
        pen.text((x, 4), column.title, fill="black")
        for down, image in enumerate(column.images):
            pixels = image.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy()
            page.paste(Image.fromarray(pixels).resize(cell, how), (x, TOP + down * (cell[1] + GAP)))
    for down, label in enumerate(labels):
        short = "\n".join(line if len(line) <= LETTERS else line[: LETTERS - 3] + "..." for line in label.splitlines())
        pen.text((GAP, TOP + down * (cell[1] + GAP) + GAP), short, fill="black")
    data = io.BytesIO()
    page.save(data, format="png")
    return data.getvalue()
