"""Pictures of what the stages of a run were shown before they learned."""

from modicum.report.files import RunFiles
from modicum.report.pictures import jpeg_address, opened
from modicum.report.sections import Block

_SIDE, _QUALITY = 900, 80
"""Longest side in pixels of a preview on the page, and its JPEG quality."""


def preview_blocks(run: RunFiles) -> list[Block]:
    """A block for every stage that has a preview, in the order of the stages."""
    folder = run.path / "previews"
    names = [path.stem for path in sorted(folder.glob("*.png"))] if folder.is_dir() else []
    order = list(dict.fromkeys(str(record.get("stage", "")) for record in run.history))
    names.sort(key=lambda name: order.index(name) if name in order else len(order))
    blocks = []
    for name in names:
        address = jpeg_address(opened(folder, f"{name}.png"), _SIDE, _QUALITY)
        if not address:
            continue
        suffix = f", stage “{name}”" if len(names) > 1 else ""
        note = "Training images as the stage saw them before it learned, a row an image."
        values = {"picture": address, "alt": f"What stage {name} learns from", "note": note}
        blocks.append(Block("preview.html.j2", f"What it learns from{suffix}", values, "half"))
    return blocks
