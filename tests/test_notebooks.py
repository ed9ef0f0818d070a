"""Every code cell of the notebooks runs, in its order, in one folder that starts empty."""

import json
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "docs" / "notebooks").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_runs(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # Decoding processes take seconds to start, which few images are not worth.
    monkeypatch.setattr("modicum.api.usable_cores", lambda: 0)
    monkeypatch.setattr("modicum.engine.inference.evaluate_run.usable_cores", lambda: 0)
    names = {"__name__": "notebook"}
    cells = [
        cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"
    ]
    assert len(cells) >= 5
    for number, cell in enumerate(cells):
        exec(compile("".join(cell["source"]), f"{path.stem}, cell {number}", "exec"), names)  # noqa: S102 - our own page
