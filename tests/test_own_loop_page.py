"""The page on parts in one's own loop: every block runs, in its order."""

from pathlib import Path

from readme_blocks import blocks, run_block

PAGE = Path(__file__).parents[1] / "docs" / "own-loop.md"


def test_every_block_of_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "own_loop"}
    run = [block for block in blocks(PAGE.read_text()) if block.runnable]
    assert len(run) >= 6
    for block in run:
        run_block(block, names)
