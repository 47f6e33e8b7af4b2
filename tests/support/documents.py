"""Documents of the repository as Markdown: headings, links, code spans and fenced blocks, and the faults of each."""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

REPOSITORY = Path(__file__).parents[2]
MARKDOWN = MarkdownIt("commonmark").enable("table")
LANGUAGES = {"sh", "console", "text", "yaml", "python", "json", "bibtex"}  # of fenced blocks; sh and console hold commands
ELSEWHERE = re.compile(r"(https?|mailto):")
MACHINE = re.compile(r"(?<![\w.~/-])/(home|root|Users|work)/\S*")
TREE = re.compile(r"(?<![\w./-])(?:conf|ltrun|benchmarks|docs|tests|\.github)/[\w./<>*{},-]*")
OF_READERS = {"conf/local/default.yaml"}  # files of a reader, which git ignores


@dataclass(frozen=True)
class Fence:
    line: int
    """Line of the page, from 1, at which the content begins."""
    language: str
    file: str | None
    """Path in the info line: `yaml options/margin/small.yaml` shows that file."""
    content: str


class Page:
    """A Markdown file below `root`."""

    def __init__(self, path: Path, root: Path = REPOSITORY) -> None:
        self.path, self.root = path, root
        self.name = path.relative_to(root).as_posix()
        text = path.read_text()
        front = re.match(r"---\n.*?\n---\n", text, re.DOTALL)  # front matter of a GitHub template
        self.text = "\n" * front.group().count("\n") + text[front.end() :] if front else text
        self.tokens = MARKDOWN.parse(self.text)

    def spans(self) -> Iterator[tuple[int, Token]]:
        """Yields inline tokens with the line of their block."""
        line = 1
        for token in self.tokens:
            line = token.map[0] + 1 if token.map else line
            if token.type == "html_block":
                yield line, token
            for child in token.children or ():
                yield line, child

    def links(self) -> Iterator[tuple[int, str]]:
        for line, token in self.spans():
            if token.type in ("link_open", "image"):
                yield line, str(token.attrGet("href" if token.type == "link_open" else "src"))
            elif token.type.startswith("html"):
                for target in re.findall(r'\b(?:href|src|srcset)="([^"]*)"', token.content):
                    yield line, target

    def fences(self) -> list[Fence]:
        found = []
        for token in self.tokens:
            if token.type in ("fence", "code_block") and token.map:
                language, file, *_ = [*token.info.split(maxsplit=1), "", ""]
                found.append(Fence(token.map[0] + (2 if token.type == "fence" else 1), language, file or None, token.content))
        return found

    def anchors(self) -> set[str]:
        """Returns the anchors of the headings, as GitHub and MyST make them; a second heading of the same text ends in -1."""
        found: dict[str, int] = {}
        for token, inline in zip(self.tokens, self.tokens[1:], strict=False):
            if token.type == "heading_open":
                text = "".join(child.content for child in inline.children or ())
                slug = re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")
                while slug in found:
                    found[slug] += 1
                    slug = f"{slug}-{found[slug]}"
                found[slug] = 0
        return set(found)

    def question(self) -> str | None:
        """Returns the first paragraph, if it follows the title and asks a question."""
        blocks = [
            (token.type, inline.content)
            for token, inline in zip(self.tokens, self.tokens[1:], strict=False)
            if token.nesting == 1
        ]
        types = [kind for kind, _ in blocks[:2]]
        return blocks[1][1] if types == ["heading_open", "paragraph_open"] and "?" in blocks[1][1] else None


def pages(root: Path = REPOSITORY) -> list[Page]:
    """Returns all documents for readers."""
    patterns = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/*.md", "benchmarks/gpu/README.md", ".github/**/*.md")
    return [Page(path, root) for pattern in patterns for path in sorted(root.glob(pattern))]


def link_faults(page: Page) -> list[str]:
    """Returns a sentence for each broken link, and for each absolute path of a machine."""
    faults = []
    for line, target in page.links():
        if ELSEWHERE.match(target):
            continue
        place, _, anchor = unquote(target).partition("#")
        file = (page.path.parent / place).resolve() if place else page.path
        if place.startswith("/") or not file.is_relative_to(page.root.resolve()):
            faults.append(f"{page.name}:{line}: {target} leads out of the repository")
        elif not exists(file, page.root.resolve()):
            faults.append(f"{page.name}:{line}: {target} leads to no file of the repository")
        elif not kept(file, page.root.resolve()):
            faults.append(f"{page.name}:{line}: {target} leads to a file that git ignores, which only this machine has")
        elif anchor and (file.suffix != ".md" or anchor not in Page(file, page.root.resolve()).anchors()):
            faults.append(f"{page.name}:{line}: {target} leads to no heading")
    for number, text in enumerate(page.text.splitlines(), 1):
        faults += [f"{page.name}:{number}: {found.group()} is a path of one machine" for found in MACHINE.finditer(text)]
    return faults


def path_faults(page: Page) -> list[str]:
    """Returns a sentence for each path in a code span that is not in the tree; NAME, <name> and * match any name."""
    faults = []
    for line, token in page.spans():
        if token.type != "code_inline":
            continue
        for written in TREE.findall(token.content):
            place = written.rstrip(".,")
            for one in braces(re.sub(r"<\w+>|\bNAME\b", "*", place)):
                found = (path.resolve() for path in page.root.glob(one.rstrip("/")))  # ltrun/conf is a link
                if place not in OF_READERS and not any(kept(path, page.root.resolve()) for path in found):
                    faults.append(f"{page.name}:{line}: `{place}` is not in the tree")
    return faults


def block_faults(page: Page) -> list[str]:
    """Returns a sentence for each block without a known language, and for invalid YAML, JSON and Python."""
    return [f"{page.name}:{fence.line}: {fault}" for fence in page.fences() if (fault := block_fault(fence))]


def block_fault(fence: Fence) -> str | None:
    import json

    import yaml

    if fence.language not in LANGUAGES:
        said = f"`{fence.language}`" if fence.language else "no language"
        return f"a block of {said}; say one of {', '.join(sorted(LANGUAGES))}: sh and console are run"
    if fence.language == "console" and not fence.content.startswith("$ "):
        return "a block of console that does not begin with `$ ` and a command"
    try:
        if fence.language == "yaml":
            list(yaml.safe_load_all(fence.content))
        elif fence.language == "json":
            json.loads(fence.content)
        elif fence.language == "python":
            compile(fence.content, "block", "exec")
    except (yaml.YAMLError, ValueError, SyntaxError) as error:
        return f"a block of {fence.language} that cannot be read: {error}"
    return None


def unreached(all_pages: list[Page]) -> list[str]:
    """Returns a sentence for each page of docs/ that no chain of links from README.md leads to."""
    by_path = {page.path.resolve(): page for page in all_pages}
    waiting = [page for page in all_pages if page.name == "README.md"]
    reached: set[str] = set()
    while waiting:
        page = waiting.pop()
        if page.name not in reached:
            reached.add(page.name)
            targets = [(page.path.parent / unquote(target).partition("#")[0]).resolve() for _, target in page.links()]
            waiting += [by_path[target] for target in targets if target in by_path]
    lonely = {page.name for page in all_pages if page.name.startswith("docs/")} - reached
    return [f"{name}: no link leads here; add a row to the table `Documents` of README.md" for name in sorted(lonely)]


def exists(file: Path, root: Path) -> bool:
    """Whether a path exists with exactly this case of letters, on any file system."""
    place = root
    for part in file.relative_to(root).parts:
        if not place.is_dir() or part not in {found.name for found in place.iterdir()}:
            return False
        place /= part
    return True


def kept(file: Path, root: Path) -> bool:
    """Whether git has the file or folder, or would take it; any file where there is no git, as in an sdist."""
    files = of_git(root)
    return files is None or file == root or file.relative_to(root).as_posix() in files


@cache
def of_git(root: Path) -> frozenset[str] | None:
    """Files that git does not ignore, and their folders; None if git does not know this root."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.split("\0")
    except (OSError, subprocess.CalledProcessError):
        return None
    return frozenset(place.as_posix() for name in listed for place in (Path(name), *Path(name).parents))


def braces(pattern: str) -> list[str]:
    """Expands braces: a/{b,c}.py gives a/b.py and a/c.py."""
    found = re.search(r"\{([^{}]*)\}", pattern)
    if not found:
        return [pattern]
    return [one for word in found[1].split(",") for one in braces(pattern[: found.start()] + word + pattern[found.end() :])]
