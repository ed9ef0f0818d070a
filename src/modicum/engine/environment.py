"""What a run ran on and with: versions and hardware, without names of people or machines."""

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    "modicum", "torch", "torchvision", "timm", "lightning", "numpy", "pandas", "pillow", "opencv-python-headless",
    "pydicom", "nibabel", "safetensors",
)  # fmt: skip


def environment() -> dict[str, Any]:
    """Versions of Python and packages, processor, cores, memory and GPUs."""
    import torch

    gpus = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        properties = torch.cuda.get_device_properties(index)
        gpus.append({"name": properties.name, "memory_bytes": properties.total_memory})
    return {
        "python": sys.version.split()[0],
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_bytes": _memory(),
        "gpus": gpus,
        "packages": versions(),
    }


def versions() -> dict[str, str | None]:
    """Installed versions of the packages that matter; None where one is absent."""
    by_package: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            by_package[package] = version(package)
        except PackageNotFoundError:
            by_package[package] = None
    return by_package


def _processor() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None
