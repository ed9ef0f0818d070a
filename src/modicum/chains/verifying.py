"""Checks a chain: the stores of its runs, and that what is in its folder is what came of its steps."""

from pathlib import Path

from modicum.chains.chain_folder import ChainFolder
from modicum.chains.do_step import output_digest
from modicum.engine.inference.verification import Verification, verify_stores
from modicum.engine.run_folder import RunFolder
from modicum.progress import quietly
from modicum.wording import count_of


def verify_chain(folder: ChainFolder, recompute: int = 0, stores: Path | None = None) -> Verification:
    """Reads everything that came of a chain's steps and compares it with what was written when they were done.

    Args:
        folder: of the chain.
        recompute: records of each feature store to compute again; see
            :func:`~modicum.engine.inference.verification.verify_stores`.
        stores: folder of its stores; next to the chain by default.

    Raises:
        InputError: a run's stores, images or frozen backbone are not there.
    """
    found, record, plan = Verification(), folder.read(), folder.read_plan()
    for step in plan.steps:
        entry = record.step(step.name)
        state = "not begun" if entry is None else entry.state
        if entry is None or state != "finished":
            found.lines.append(f"{step.name}: {state}")
            continue
        same = entry.output == output_digest(folder, step)
        found.damaged += not same
        what = "what it learned" if step.kind == "fit" else "what it wrote"
        found.lines.append(f"{step.name}: {what} is {'' if same else 'NOT '}what is in its folder")
        if step.kind != "fit":
            continue
        with quietly():
            of_run = verify_stores(RunFolder(folder.step(step.name)), recompute, stores)
        found.lines += [f"{step.name}: {line}" for line in of_run.lines]
        found.damaged += of_run.damaged
    unfinished = sum(entry.state != "finished" for entry in record.steps)
    if unfinished:
        found.lines.append(
            f"{count_of(unfinished, 'step')} to do: go on with `modicum fit {folder.plan} --resume`"
        )
    return found
