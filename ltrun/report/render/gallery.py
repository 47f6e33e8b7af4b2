"""HTML page of wrong images with thumbnails, grouped by label and prediction."""

from __future__ import annotations

import html as hypertext
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Protocol

from ltrun.report.mistakes import Mistake
from ltrun.report.render.common import percent, plain
from ltrun.report.wrong import Mistakes, by_pair

LISTED = 60  # most pairs that the overview lists, and that have a section of their own
STYLE = """
:root{color-scheme:light dark;--paper:#fff;--ink:#1c1e21;--soft:#5f6670;--line:#dfe2e6;--card:#f6f7f9;--wrong:#c2410c}
@media(prefers-color-scheme:dark){
:root{--paper:#15171a;--ink:#e8eaed;--soft:#a2a9b3;--line:#30343a;--card:#1f2226;--wrong:#fb923c}}
*{box-sizing:border-box}
body{background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif;margin:0 auto;max-width:80rem;
padding:2rem 1.5rem}
h1{font-size:1.5rem;line-height:1.25;margin:0 0 .25rem;overflow-wrap:anywhere}
h2{font-size:1.05rem;margin:2.25rem 0 .75rem;padding-top:.75rem;border-top:1px solid var(--line);overflow-wrap:anywhere}
h2 small,nav small{color:var(--soft);font-weight:400;font-variant-numeric:tabular-nums}
p{color:var(--soft);margin:.25rem 0}
.summary{color:var(--ink);font-size:1.05rem}
nav{display:flex;flex-wrap:wrap;gap:.4rem;margin:1.25rem 0 0}
nav a,nav span{background:var(--card);border:1px solid var(--line);border-radius:1rem;color:inherit;font-size:.85rem;
padding:.1rem .7rem;text-decoration:none;overflow-wrap:anywhere}
nav a:hover,nav a:focus{border-color:var(--wrong)}
.images{display:grid;gap:1rem;grid-template-columns:repeat(auto-fill,minmax(8.5rem,1fr));list-style:none;margin:0;padding:0}
.images li{background:var(--card);border:1px solid var(--line);border-radius:.5rem;font-size:.8rem;line-height:1.35;
overflow:hidden}
.images img,.none{aspect-ratio:1;display:block;width:100%}
.images img{object-fit:contain;background:var(--line)}
.images img.stored{image-rendering:pixelated}
.none{align-items:center;color:var(--soft);display:flex;justify-content:center;padding:1rem;text-align:center}
.bar{background:var(--line);height:.25rem}
.bar i{background:var(--wrong);display:block;height:100%}
.text{padding:.5rem .6rem .6rem;font-variant-numeric:tabular-nums}
.text b{color:var(--wrong)}
.text span{color:var(--soft);display:block;overflow-wrap:anywhere}
""".strip()


class Picture(Protocol):
    """A thumbnail. uri: None without a picture. note: a remark on the picture, or why there is none."""

    @property
    def uri(self) -> str | None: ...
    @property
    def note(self) -> str: ...


def gallery(mistakes: Mistakes, count: int | None, pictures: Mapping[int, Picture], notes: Sequence[str] = ()) -> str:
    """Returns a self-contained page. pictures: row of the test split -> thumbnail. notes: further lines below the summary."""
    shown = mistakes.first(count)
    pairs = by_pair(shown)
    numbers = {pair: number for number, pair in enumerate(islice(pairs, LISTED), 1)}
    lines = [*mistakes.notes, *notes]
    if len(shown) < len(mistakes.found):
        lines.append(f"This page shows the {len(shown):,} most confident; --top N shows more")
    body = [
        f"<h1>{_text(mistakes.title)}</h1>",
        f'<p class="summary">{_text(mistakes.summary)}</p>',
        *(f"<p>{_text(line)}</p>" for line in lines),
        *_overview(by_pair(mistakes.found), numbers, mistakes.kind),
    ]
    for pair, number in numbers.items():
        body += _section(f"pair{number}", _pair(pair, len(pairs[pair]), mistakes.kind), pairs[pair], pictures)
    if rest := [wrong for pair, images in pairs.items() if pair not in numbers for wrong in images]:
        body += _section("others", f"Other {mistakes.kind.kinds} <small>{len(rest):,}</small>", rest, pictures)
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>wrong images: {_text(mistakes.title)}</title><style>{STYLE}</style>"
    )
    return "\n".join(["<!doctype html>", f'<html lang="en"><head>{head}</head><body>', *body, "</body></html>"]) + "\n"


def _overview(
    pairs: Mapping[tuple[str, str], Sequence[Mistake]], numbers: Mapping[tuple[str, str], int], kind: type[Mistake]
) -> Iterable[str]:
    """Yields the most confused pairs of all wrong images, linked to their sections. numbers: pair -> number of its section."""
    if len(pairs) < 2:
        return []
    links = [
        f'<a href="#pair{numbers[pair]}">{shown}</a>' if pair in numbers else f"<span>{shown}</span>"
        for pair, images in islice(pairs.items(), LISTED)
        for shown in [_pair(pair, len(images), kind)]
    ]
    rest = len(pairs) - len(links)
    return ["<nav>", *links, *([f"<small>and {rest:,} more {kind.kinds}</small>"] if rest else []), "</nav>"]


def _section(mark: str, heading: str, images: Sequence[Mistake], pictures: Mapping[int, Picture]) -> Iterable[str]:
    yield f'<section id="{mark}"><h2>{heading}</h2><ul class="images">'
    yield from (_card(wrong, pictures.get(wrong.row)) for wrong in images)
    yield "</ul></section>"


def _card(wrong: Mistake, picture: Picture | None) -> str:
    uri, note = (picture.uri, picture.note) if picture else (None, "no picture")
    if uri is None:
        shown = f'<div class="none">{_text(note)}</div>'
    else:
        stored = ' class="stored"' if uri.startswith("data:image/png") else ""
        shown = f'<img{stored} src="{_text(uri)}" alt="{_text(wrong.name)}" loading="lazy">'
    said = f"<span>{_text(note)}</span>" if uri and note else ""
    first, *rest = map(_text, wrong.told)
    lines = "".join(f"<span>{line}</span>" for line in (*rest, _text(wrong.name)))
    return (
        f'<li>{shown}<div class="bar"><i style="width:{percent(wrong.probability)}"></i></div><div class="text">'
        f"<b>{first}</b>{lines}{said}</div></li>"
    )


def _pair(pair: tuple[str, str], images: int, kind: type[Mistake]) -> str:
    return f"{_text(kind.between.join(pair))} <small>{images:,}</small>"


def _text(text: str) -> str:
    return hypertext.escape(plain(text))
