"""Starting is quick because nothing heavy is imported: the modules are checked, not the clock."""

import subprocess
import sys

import pytest

HEAVY = (
    "torch",
    "lightning",
    "timm",
    "pandas",
    "numpy",
    "torchvision",
    "matplotlib",
    "pydicom",
    "nibabel",
    "cv2",
)


@pytest.mark.parametrize(
    "code", ["import modicum", "import modicum.cli", "import modicum.errors, modicum.progress"]
)
def test_nothing_heavy_is_imported(code):
    report = f"import sys; {code}; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_lists_every_command():
    done = subprocess.run(
        [sys.executable, "-m", "modicum", "--help"], capture_output=True, text=True, check=True
    )
    for command in (
        "inspect",
        "fit",
        "predict",
        "evaluate",
        "report",
        "methods",
        "recipes",
        "doctor",
        "demo",
        "phantoms",
    ):
        assert command in done.stdout


def test_torchvision_imports_whichever_build_is_beside_torch():
    code = "import modicum, torchvision.transforms.v2, timm; print('fine')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "fine"
