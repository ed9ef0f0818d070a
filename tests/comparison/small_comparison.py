"""A comparison of two methods that takes seconds, and what its files say."""

import re
from html.parser import HTMLParser
from pathlib import Path

import modicum
from modicum.comparison.results import Comparison

SETTINGS = {
    "backbone": "test_resnet",
    "weights": "random",
    "image_size": 32,
    "epochs": 1,
    "batch_size": 8,
    "augment": "none",
    "leaks": "allow",
    "resamples": 20,
    "workers": 0,
    "device": "cpu",
}


def compare(data: Path, runs: Path, name: str, **given) -> Comparison:
    methods = given.pop("methods", ["full", "linear"])
    return modicum.compare(
        data,
        methods,
        runs=runs,
        name=name,
        stores=data.parent / "stores",
        **{"seeds": 2, **SETTINGS, **given},
    )


def files_of(folder: Path) -> dict[Path, int]:
    """When each file was last written, in nanoseconds."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def markdown_rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [cells[0], *cells[2:]]


class Tables(HTMLParser):
    """The cells of a page's tables, and everything it would fetch from elsewhere."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.fetched: list[str] = []
        self._in_cell = False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.fetched += [given[key] for key in ("src", "srcset", "data") if given.get(key)]
        if tag == "link":
            self.fetched.append(given.get("href", ""))
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in {"td", "th"}:
            self.tables[-1][-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag):
        if tag in {"td", "th"}:
            self._in_cell = False

    def handle_data(self, data):
        if self._in_cell:
            self.tables[-1][-1][-1] += re.sub(r"[ \n]+", " ", data)
