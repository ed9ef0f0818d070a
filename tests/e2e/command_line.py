"""The command line, called in this process: what a user types, without the seconds that starting Python takes."""

import contextlib
import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from modicum.__main__ import main


@dataclass(frozen=True)
class Done:
    """What a command came to."""

    code: int
    out: str
    err: str


def modicum(*words: object) -> Done:
    """Runs ``modicum WORDS`` in this process."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["modicum", *map(str, words)])
        patch.delenv("MODICUM_DEBUG", raising=False)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main()
                code = 0
            except SystemExit as stopped:
                code = int(stopped.code or 0)
    return Done(code, out.getvalue(), err.getvalue())


# A network and a size for which the whole path takes seconds.
SMALL = ("--backbone", "test_resnet", "--weights", "random", "--image-size", 32, "--workers", 0)
SMALL += ("--set", "resamples=100", "--set", "lr=3e-3")


def read_table(path: Path) -> pd.DataFrame:
    """A CSV with everything as text and nothing as ``""``, so that a test sees what is in the file."""
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())
