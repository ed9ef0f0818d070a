"""A fingerprint as tables for the terminal. Nothing is printed here: the command line does that."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.bar import Bar
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from modicum.data.manifest import SPLITS
from modicum.wording import count_of, listed

_BAR = 16
_LISTED = 12
_NAMES = 6


def inspect_tables(fingerprint: Mapping[str, Any]) -> list[RenderableType]:
    """The tables of ``modicum inspect``: files, patients, labels, then problems and their remedies.

    Args:
        fingerprint: what :func:`modicum.data.checks.fingerprint.fingerprint` gave, or what was read from its file.
    """
    parts: list[RenderableType] = [_title(fingerprint), _overview(fingerprint)]
    if fingerprint["classes"]:
        parts.append(_class_table(fingerprint["classes"]))
    if fingerprint["findings"]:
        parts.append(_finding_table(fingerprint["findings"]))
    parts += _lists(fingerprint)
    notes = [*fingerprint.get("notes", ()), *(fingerprint.get("boxes") or {}).get("notes", ())]
    if notes:
        parts.append(_notes(notes))
    parts.append(_warnings(fingerprint["warnings"]))
    return [Padding(part, (0, 0, 1, 1)) for part in parts]


def _title(fingerprint: Mapping[str, Any]) -> Text:
    size = fingerprint["bytes"] / 2**20
    facts = [
        count_of(fingerprint["images"], "image"),
        f"{size:,.0f} MiB" if size >= 10 else f"{size:.1f} MiB",
    ]
    if fingerprint["patients"]:
        facts.insert(1, count_of(fingerprint["patients"], "patient"))
    name = fingerprint["name"] or fingerprint["source"] or "data"
    return Text.assemble(
        (name, "bold cyan"), "  ", (" · ".join(facts), "bold"), (f"  {fingerprint['source']}", "dim")
    )


def _overview(fingerprint: Mapping[str, Any]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for name, text in _overview_rows(fingerprint):
        table.add_row(name, Text(text))
    return table


def _overview_rows(fingerprint: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if fingerprint["formats"]:
        yield "format", _list({name.upper(): n for name, n in fingerprint["formats"].items()})
        bits = ", ".join(sorted(fingerprint["bits"], key=int))
        yield "pixels", f"{bits} bits; {_list(fingerprint['modes'])}"
        yield "size", _sizes(fingerprint["height"], fingerprint["width"])
    if fingerprint["spacing"]["known"]:
        row, column = fingerprint["spacing"]["row"], fingerprint["spacing"]["column"]
        text = f"{row['median']:.3g} × {column['median']:.3g} mm (median)"
        missing = fingerprint["readable"] - fingerprint["spacing"]["known"]
        yield "spacing", text + (f"; not known of {missing:,}" if missing else "")
    if fingerprint["intensity"]:
        mean, overall = fingerprint["intensity"]["mean"], fingerprint["intensity"]["overall"]
        yield (
            "grey levels",
            f"{overall['mean']:.2f} ± {overall['std']:.2f} of 1; means of images {mean['min']:.2f} to {mean['max']:.2f}",
        )
    if fingerprint["classes"] is None and fingerprint["findings"] is None:
        columns = fingerprint.get("columns")
        given = f" ({listed(columns, _NAMES)})" if columns else ""
        yield "labels", f"none read; name their column{given} with --label, or several with --labels"
    yield from _people_rows(fingerprint)
    for name, text in (("domains", _list(fingerprint["domains"])), ("splits", _list(fingerprint["splits"]))):
        if text:
            yield name, text
    if fingerprint["reports"]:
        yield "reports", _report_text(fingerprint["reports"])
    if fingerprint.get("boxes"):
        yield "boxes", _box_text(fingerprint["boxes"], fingerprint["images"])
    for name in ("masks", "targets"):
        if fingerprint[name]:
            yield name, f"{fingerprint[name]:,}"


def _box_text(boxes: Mapping[str, Any], images: int) -> str:
    if boxes["problem"]:
        return f"given of {count_of(boxes['images'], 'image')}, and not usable as they are"
    text = f"{boxes['count']:,} in {boxes['images']:,} of {count_of(images, 'image')}"
    return f"{text}: {_list(boxes['classes'])}" if boxes["classes"] else text


def _report_text(reports: Mapping[str, Any]) -> str:
    words, lost = reports["words"], reports["set_aside"]
    text = "none that can be used"
    if words:
        text = f"{reports['count']:,}, {words['median']:g} words (median), {words['max']:g} at most"
    return text + (f"; {lost:,} set aside" if lost else "")


def _people_rows(fingerprint: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if fingerprint["patients"] is None:
        yield "patients", "not known: every image counts as a patient of its own"
        return
    each = fingerprint["images_per_patient"]
    several = f"{each['min']:g} to {each['max']:g}" if each["min"] != each["max"] else f"{each['min']:g}"
    text = f"{fingerprint['patients']:,}, with {several} {'image' if several == '1' else 'images'} each"
    if fingerprint["images_without_patient"]:
        text += f"; {count_of(fingerprint['images_without_patient'], 'image')} without"
    yield "patients", text
    if fingerprint["eyes"]:
        pairs = "" if fingerprint["eye_pairs"] is None else f"; {count_of(fingerprint['eye_pairs'], 'pair')}"
        yield "eyes", _list(fingerprint["eyes"]) + pairs


def _sizes(height: Mapping[str, float], width: Mapping[str, float]) -> str:
    low, median, high = (f"{width[at]:g} × {height[at]:g}" for at in ("min", "median", "max"))
    return (
        f"{median} (width × height)" if low == high else f"{low} to {high}, median {median} (width × height)"
    )


def _class_table(classes: Mapping[str, Mapping[str, int]]) -> Table:
    splits = [split for split in SPLITS if split in classes]
    table = _table(
        "class", ("images", "right"), ("share", "right"), "", *((split, "right") for split in splits)
    )
    counts = classes["all"]
    total, most = sum(counts.values()), max(counts.values(), default=0)
    for name, count in counts.items():
        cells = [_few(classes[split].get(name, 0)) for split in splits]
        bar = Bar(max(most, 1), 0, count, width=_BAR, color="cyan")
        table.add_row(Text(name), f"{count:,}", f"{100 * count / total:.1f} %", bar, *cells)
    if splits:
        table.add_section()
        sums = [f"{sum(classes[split].values()):,}" for split in splits]
        table.add_row("all", f"{total:,}", "", "", *sums, style="dim")
    return table


def _finding_table(findings: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Table:
    splits = [split for split in SPLITS if any(split in parts for parts in findings.values())]
    heads = [(head, "right") for head in ("positive", "negative", "unknown", "prevalence")]
    table = _table("finding", *heads, "", *((f"{split} +/−", "right") for split in splits))
    for name, parts in findings.items():
        whole = parts["all"]
        share = whole["prevalence"]
        table.add_row(
            Text(name),
            f"{whole['positive']:,}",
            f"{whole['negative']:,}",
            f"{whole['unknown']:,}" if whole["unknown"] else Text("–", "dim"),
            "–" if share is None else f"{100 * share:.1f} %",
            Bar(1.0, 0, share or 0.0, width=_BAR, color="cyan"),
            *(
                Text.assemble(_few(parts[s]["positive"]), "/", _few(parts[s]["negative"]))
                if s in parts
                else "–"
                for s in splits
            ),
        )
    return table


def _lists(fingerprint: Mapping[str, Any]) -> Iterator[Table]:
    """The files and pairs named by the warnings."""
    if fingerprint["broken"]:
        rows = [(item["image"], item["reason"]) for item in fingerprint["broken_files"]]
        yield _listing(("broken file", "reason"), rows, fingerprint["broken"])
    if fingerprint["leaks"]:
        leaks = []
        for item in fingerprint["leak_pairs"]:
            what = item["kind"] if item["patient"] is None else f"{item['kind']} {item['patient']}"
            images = dict.fromkeys((item["first"], item["second"]))
            leaks.append((what, " and ".join(item["splits"]), "\n".join(images)))
        yield _listing(("leak", "between", "images"), leaks, fingerprint["leaks"])


def _listing(heads: Sequence[str], rows: Sequence[Sequence[str]], total: int) -> Table:
    table = _table(*heads)
    for row in rows[:_LISTED]:
        table.add_row(*(Text(cell, overflow="fold") for cell in row))
    if total > _LISTED:
        table.add_row(Text(f"… and {total - min(_LISTED, len(rows)):,} more", "dim"))
    return table


def _notes(notes: Sequence[str]) -> RenderableType:
    """Notes from reading the table, such as lines of another encoding or uncertain findings."""
    grid = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for note in notes:
        grid.add_row(Text("·", "dim"), Text(note))
    return grid


def _warnings(warnings: Sequence[Mapping[str, Any]]) -> RenderableType:
    if not warnings:
        return Text.assemble(("✓ ", "bold green"), "nothing to complain about")
    grid = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for warning in warnings:
        mark = Text("✗", "bold red") if warning["stops"] else Text("!", "bold yellow")
        text = Text(warning["text"], "red" if warning["stops"] else "yellow")
        # Problems that stop training have a separate table above.
        examples = [Text(name, "dim") for name in warning["examples"] if not warning["stops"]]
        grid.add_row(mark, Group(text, *examples, Text.assemble(("→ ", "dim"), warning["remedy"])))
    return grid


def _table(*heads: str | tuple[str, str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for head in heads:
        name, justify = (head, "left") if isinstance(head, str) else head
        table.add_column(name, justify="right" if justify == "right" else "left")
    return table


def _few(count: int) -> Text:
    """A count of a class in a split, marked where it is too small for scores."""
    return Text(f"{count:,}", "bold red" if count == 0 else "yellow" if count < 5 else "")


def _list(counts: Mapping[str, int]) -> str:
    """``JPEG 300, PNG 141``; only the name where there is one kind."""
    if len(counts) == 1:
        return next(iter(counts))
    listed = [f"{name} {count:,}" for name, count in list(counts.items())[:_NAMES]]
    left = len(counts) - len(listed)
    return ", ".join(listed) + (f" and {left} more" if left else "")
