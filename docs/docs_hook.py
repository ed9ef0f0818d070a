"""Makes the site of the Markdown files as they lie in the repository, for ``mkdocs build`` (see mkdocs.yml).

The README is the front page; pages of ``benchmarks/`` and the project's own pages come along under their names; notebooks
become pages. Links are written for a code host, from file to file: what they point to outside ``docs/`` is found again on
the site, or in the repository whose address ``MODICUM_REPOSITORY`` is.
"""

import json
import os
import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FRONT = "README.md"
PROJECT_PAGES = ("CONTRIBUTING.md", "CHANGELOG.md", "LOG.md")
LINK = re.compile(r"(?P<before>\]\()(?P<target>[^()\s]+)(?P<after>(?:\s+\"[^\"]*\")?\))")
FENCE = re.compile(r"^(?P<ticks>`{3,}).*?^(?P=ticks)\s*$", re.MULTILINE | re.DOTALL)
ROLE = re.compile(r":(?:class|func|meth|mod|data|attr|exc):<code>(?:~[\w.]*\.)?([^<]*)</code>")
"""How docstrings name other parts, as it comes out of Markdown: ``:class:`~modicum.nn.Frozen```."""
CODE = re.compile(r"`[^`\n]+`")


def notebook_as_markdown(text: str) -> str:
    """A notebook's cells as a page: texts as they are, code in blocks. What it printed is not kept in the files."""
    parts = []
    for cell in json.loads(text)["cells"]:
        source = "".join(cell["source"]).rstrip()
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
    return "\n\n".join(parts) + "\n"


def site_path(path: str) -> str | None:
    """Where a file of the repository is on the site; None if it has no page or picture there.

    Args:
        path: from the root of the repository, with ``/``.
    """
    if path == FRONT:
        return "index.md"
    if path.startswith("docs/") and path.endswith((".md", ".png", ".svg")):
        return path.removeprefix("docs/")
    if path.startswith("docs/notebooks/") and path.endswith(".ipynb"):
        return path.removeprefix("docs/").removesuffix(".ipynb") + ".md"
    if path in PROJECT_PAGES or (path.startswith("benchmarks/") and path.endswith(".md")):
        return path
    return None


def outside_code(text: str, change: Callable[[str], str]) -> str:
    """A page whose text is changed outside of code blocks and code in lines."""
    return _between(FENCE, text, lambda part: _between(CODE, part, change))


def _between(pattern: re.Pattern[str], text: str, change: Callable[[str], str]) -> str:
    parts, end = [], 0
    for match in pattern.finditer(text):
        parts += [change(text[end : match.start()]), match.group()]
        end = match.end()
    return "".join([*parts, change(text[end:])])


def with_site_links(text: str, path: str, repository: str, brought: set[str]) -> str:
    """A page with its links as the site has them.

    Args:
        text: of the page.
        path: of its file in the repository.
        repository: its address; empty for none.
        brought: gets files outside of the site's pages that come along with it.
    """
    here = site_path(path)
    assert here is not None, path

    def changed(match: re.Match[str]) -> str:
        target, hash_, anchor = match["target"].partition("#")
        if not target or ":" in target:
            return match.group()
        wanted = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
        there = site_path(wanted)
        if there is None and repository:
            return (
                f"{match['before']}{repository.rstrip('/')}/blob/main/{wanted}{hash_}{anchor}{match['after']}"
            )
        if there is None:
            brought.add(wanted)
            there = f"files/{wanted}"
        relative = posixpath.relpath(there, posixpath.dirname(here) or ".")
        return f"{match['before']}{relative}{hash_}{anchor}{match['after']}"

    return outside_code(text, lambda part: LINK.sub(changed, part))


def pages() -> dict[str, Path]:
    """Every page of the site by its path in the repository."""
    found = [ROOT / FRONT, *(ROOT / name for name in PROJECT_PAGES)]
    found += sorted((ROOT / "benchmarks").rglob("*.md")) + sorted((ROOT / "docs").rglob("*.md"))
    found += sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
    return {path.relative_to(ROOT).as_posix(): path for path in found}


def page_text(path: Path) -> str:
    """A page's Markdown."""
    text = path.read_text(encoding="utf-8")
    return notebook_as_markdown(text) if path.suffix == ".ipynb" else text


def on_files(files: Any, config: Any) -> Any:
    """Puts all pages into the site with their links changed, and what they link to beside pages."""
    from mkdocs.structure.files import File

    repository, brought = os.environ.get("MODICUM_REPOSITORY", ""), set[str]()
    for name, path in pages().items():
        where = site_path(name)
        assert where is not None
        if (old := files.get_file_from_path(where)) is not None:
            files.remove(old)
        content = with_site_links(page_text(path), name, repository, brought)
        files.append(File.generated(config, where, content=content))
    for name in sorted(brought):
        files.append(File.generated(config, f"files/{name}", abs_src_path=str(ROOT / name)))
    return files


def on_page_content(html: str, **_: Any) -> str:
    """Leaves the name alone of what docstrings refer to."""
    return ROLE.sub(r"<code>\1</code>", html)
