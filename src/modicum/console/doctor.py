"""Checks the machine for what a run may need."""

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.table import Table

from modicum.engine.environment import environment
from modicum.engine.recipe.backbones import hub_reachable
from modicum.wording import count_of

# Transfer syntaxes that need a plugin, by their common names.
_SYNTAXES = {
    "RLE Lossless": "1.2.840.10008.1.2.5",
    "JPEG Baseline": "1.2.840.10008.1.2.4.50",
    "JPEG Lossless": "1.2.840.10008.1.2.4.70",
    "JPEG-LS": "1.2.840.10008.1.2.4.80",
    "JPEG 2000": "1.2.840.10008.1.2.4.90",
    "HTJ2K": "1.2.840.10008.1.2.4.201",
}


@dataclass(frozen=True)
class Checkup:
    """The table of checks, and whether everything required is there."""

    table: Table
    healthy: bool


def check_machine() -> Checkup:
    """Checks versions, devices, codecs, hub and disk."""
    facts = environment()
    threads = count_of(facts["threads"], "thread")
    rows: list[tuple[bool | None, str, str]] = [
        (True, "modicum", f"{facts['packages']['modicum']}, Python {facts['python']}, {facts['platform']}"),
        (
            True,
            "PyTorch",
            f"{torch.__version__}, {threads} on {count_of(facts['cores'], 'core')}",
        ),
        _memory(facts["memory_bytes"]),
        _gpu(),
        _backbones(),
        *_codecs(),
        _hub(),
        _disk(),
    ]
    table = Table("", "what", "found", box=None, pad_edge=False, header_style="bold")
    for good, what, detail in rows:
        mark = {True: "[green]ok[/green]", None: "[yellow]--[/yellow]", False: "[red]no[/red]"}[good]
        table.add_row(mark, what, detail)
    return Checkup(table, all(good is not False for good, _, _ in rows))


def _memory(total: int | None) -> tuple[bool | None, str, str]:
    return (None, "memory", "unknown") if total is None else (True, "memory", f"{total / 2**30:.0f} GiB")


def _gpu() -> tuple[bool | None, str, str]:
    if not torch.cuda.is_available():
        return None, "GPU", "none found; training runs on the CPU"
    names = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        names.append(f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB")
    precision = (
        "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no bf16: trains in fp32"
    )
    return True, "GPU", f"{'; '.join(names)} ({precision})"


def _backbones() -> tuple[bool | None, str, str]:
    try:
        import timm
        import torchvision
    except (ImportError, RuntimeError) as error:
        return (
            False,
            "backbones",
            f"timm or torchvision do not import: {error}; torch and torchvision must match",
        )
    return True, "backbones", f"timm {timm.__version__}, torchvision {torchvision.__version__}"


def _codecs() -> list[tuple[bool | None, str, str]]:
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID

    missing = [name for name, uid in _SYNTAXES.items() if not get_decoder(UID(uid)).is_available]
    if missing:
        return [(None, "DICOM codecs", f"cannot read {', '.join(missing)}; pip install 'modicum[dicom]'")]
    return [(True, "DICOM codecs", ", ".join(_SYNTAXES))]


def _hub() -> tuple[bool | None, str, str]:
    if hub_reachable():
        return True, "model hub", "reachable"
    return None, "model hub", "not reachable; cached weights, --weights FILE and --weights random still work"


def _disk() -> tuple[bool | None, str, str]:
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    try:
        with tempfile.TemporaryFile(dir=Path.cwd()):
            pass
    except OSError as error:
        return False, "this folder", f"cannot be written to ({os.strerror(error.errno or 0)})"
    return (True if free > 5 else None), "this folder", f"writable, {free:.0f} GiB free"
