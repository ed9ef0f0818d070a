"""Report on what a method pastes: the lesions of the annotated images, and examples before and after."""

from collections.abc import Mapping
from typing import Any

from modicum.report.files import RunFiles, as_mapping, number
from modicum.report.sections import Block
from modicum.report.words import plural

_DATA = "data:image/jpeg;base64,"


def bank_blocks(run: RunFiles) -> list[Block]:
    """A block of each stage that has a bank of lesions."""
    found = as_mapping(run.metrics.get("findings"))
    return [
        block
        for findings in found.values()
        if (bank := as_mapping(as_mapping(findings).get("lesion_bank")))
        for block in [_block(bank)]
    ]


def _block(bank: Mapping[str, Any]) -> Block:
    rows = []
    for name, facts in as_mapping(bank.get("types")).items():
        facts = as_mapping(facts)
        count, images, above, least, most = (
            int(number(facts.get(key)) or 0)
            for key in ("lesions", "annotated_images", "above_severity", "least", "most")
        )
        when = "every image gets" if above < 0 else f"{100 * (100 - above) / 101:.0f} % of the images get"
        remark = f"from {plural(images, 'annotated image')}; {when} {least} to {most}"
        rows.append((name, plural(count, "lesion"), remark))
    given = as_mapping(bank.get("pictures"))
    titles = {
        "bank": "Lesions of the annotated images, cut out",
        "pasted": "Normal images, the same with lesions, and where these are",
    }
    # Only addresses that carry their picture: a page loads nothing.
    pictures = [
        (titles[name], str(given[name])) for name in titles if str(given.get(name, "")).startswith(_DATA)
    ]
    note = "What abnormal images are made of; the pasted examples are of the last validation images."
    return Block(
        "lesions.html.j2", "Lesions that are pasted", {"rows": rows, "pictures": pictures, "note": note}
    )
