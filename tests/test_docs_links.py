"""Every relative link and anchor of the documentation, benchmarks and README leads somewhere; so does the site's menu."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_spec = importlib.util.spec_from_file_location("docs_hook", ROOT / "docs" / "docs_hook.py")
hook = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(hook)

PAGES = hook.pages()
HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)


def anchors(text):
    """As code hosts make them: lower case, no punctuation, a hyphen for each space, numbers for what is there twice."""
    found = set()
    for heading in HEADING.findall(hook.FENCE.sub("", text)):
        plain = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        number = 1
        while slug in found:
            slug, number = f"{re.sub(r'-[0-9]+$', '', slug)}-{number}", number + 1
        found.add(slug)
    return found


def links(text):
    collected = []

    def collect(part):
        collected.extend(match["target"] for match in hook.LINK.finditer(hook.CODE.sub("", part)))
        return part

    hook.outside_code(text, collect)
    return [link for link in collected if ":" not in link.split("#")[0]]


def broken(name, text):
    """The links of a page that lead nowhere."""
    bad = []
    for link in links(text):
        target, _, anchor = link.partition("#")
        path = (PAGES[name].parent / target).resolve() if target else PAGES[name]
        if not path.exists() or (
            anchor and path.suffix in {".md", ".ipynb"} and anchor not in anchors(hook.page_text(path))
        ):
            bad.append(link)
    return bad


@pytest.mark.parametrize("name", PAGES)
def test_every_link_of_a_page_leads_somewhere(name):
    assert broken(name, hook.page_text(PAGES[name])) == []


def test_broken_links_are_found():
    page = "[a](none.md) [b](memory.md#nowhere) [c](memory.md) `[d](code.md)` [e](https://example.org)\n```\n[f](x.md)\n```\n"
    assert broken("docs/data.md", page) == ["none.md", "memory.md#nowhere"]


def test_the_menu_has_every_page_once():
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("\nnav:\n")[1]
    listed = re.findall(r":\s+([\w./-]+\.md)$", menu, re.MULTILINE)
    assert sorted(listed) == sorted(hook.site_path(name) for name in PAGES)


def test_links_become_those_of_the_site():
    brought = set()
    text = "[a](docs/data.md#leaks) [b](LICENSE) ![c](docs/pictures/report.png) [d](benchmarks/README.md) `[e](LICENSE)`"
    found = hook.with_site_links(text, "README.md", "", brought)
    assert found == (
        "[a](data.md#leaks) [b](files/LICENSE) ![c](pictures/report.png) [d](benchmarks/README.md) `[e](LICENSE)`"
    )
    assert brought == {"LICENSE"}
    found = hook.with_site_links(
        "[a](../../benchmarks/README.md) [b](../../LICENSE)", "docs/methods/fpt.md", "", set()
    )
    assert found == "[a](../benchmarks/README.md) [b](../files/LICENSE)"
    address = "https://host.example/owner/name/"
    found = hook.with_site_links("[a](../../LICENSE) [b](../data.md)", "docs/methods/fpt.md", address, set())
    assert found == "[a](https://host.example/owner/name/blob/main/LICENSE) [b](../data.md)"


def test_code_in_lines_and_blocks_stays():
    text = "```md\n[a](LICENSE)\n```\nand `[b](LICENSE)`, [c](LICENSE)\n"
    assert hook.with_site_links(text, "README.md", "", set()) == text.replace(
        "[c](LICENSE)", "[c](files/LICENSE)"
    )


def test_notebooks_are_kept_without_what_they_printed():
    notebooks = [path for path in PAGES.values() if path.suffix == ".ipynb"]
    assert len(notebooks) == 2
    for path in notebooks:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in cells)


def test_a_notebook_becomes_a_page():
    cells = [
        {"cell_type": "markdown", "source": ["# T\n"]},
        {"cell_type": "code", "source": ["x = 1\n", "y"]},
    ]
    text = json.dumps({"cells": cells})
    assert hook.notebook_as_markdown(text) == "# T\n\n```python\nx = 1\ny\n```\n"


def test_names_in_docstrings_lose_their_roles():
    html = "<p>Raises :class:<code>InputError</code>, see :func:<code>~modicum.api.fit</code> and <code>:x:</code></p>"
    assert hook.on_page_content(html) == (
        "<p>Raises <code>InputError</code>, see <code>fit</code> and <code>:x:</code></p>"
    )
