"""Citation keys of methods and their entries for BibTeX, from the headers of presets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from ltrun.config import catalogue
from ltrun.errors import ConfigError
from ltrun.report.table import Table

PAPER = re.compile(
    r"(?P<authors>[^,;\d][^;]*?), (?P<year>\d{4})(?: \((?P<short>[^)]*)\))?,? ?"
    r"(?:arXiv (?P<arxiv>\d{4}\.\d{4,5})|(?P<where>[^;]*))"
)
ABOUT = (
    "% Of ltrun's presets: authors, year and arXiv number, as their headers have them. Titles are not among them; the arXiv\n"
    "% number finds them."
)


def cited(tables: Sequence[Table]) -> dict[str, dict[str, str]]:
    """Returns method -> (citation key -> entry) for the methods of the tables; a method without a citation has no keys."""
    methods = {record.method for table in tables for row in table.rows for record, _ in row.runs}
    return {method: dict(_entries(*_citation(method))) for method in sorted(methods)}


def bibliography(papers: Mapping[str, Mapping[str, str]]) -> str:
    """Returns the content of a .bib file with each paper once, by key."""
    entries = {key: entry for found in papers.values() for key, entry in found.items()}
    return "\n\n".join([ABOUT, *(entries[key] for key in sorted(entries))]) + "\n"


def _citation(method: str) -> tuple[str, str]:
    """Returns the citation of a preset and its name in papers."""
    try:
        option = catalogue.option_of(catalogue.file_of("method", method))
    except ConfigError:
        return "", ""
    return option.citation, option.title or method


def _entries(citation: str, title: str) -> Iterable[tuple[str, str]]:
    for part in re.split(r"; |, after ", citation):
        found = PAPER.match(part)
        if found is None:
            continue
        where = found["arxiv"] or found["where"].strip() or found["short"] or title
        key = f"{_slug(re.split(r' and | et al', found['authors'])[0])}{found['year']}-{_slug(where)}"
        fields = {
            "author": found["authors"].replace(" et al.", " and others"),
            "year": found["year"],
            **({"eprint": found["arxiv"], "archiveprefix": "arXiv"} if found["arxiv"] else {"howpublished": where}),
            **({"url": f"https://arxiv.org/abs/{found['arxiv']}"} if found["arxiv"] else {}),
            "note": found["short"] or title,
        }
        lines = [f"  {name} = {{{_bibtex(value)}}}," for name, value in fields.items()]
        yield key, "\n".join([f"@misc{{{key},", *lines, "}"])


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-")[:40]


def _bibtex(text: str) -> str:
    return re.sub(r"([&%$#_])", r"\\\1", re.sub(r"[{}\\]", "", text))
