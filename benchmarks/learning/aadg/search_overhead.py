"""What the search of AADG costs in an epoch, beside the network's own work on the same images.

    OMP_NUM_THREADS=1 python benchmarks/learning/aadg/search_overhead.py --data DIR

In the setting of ``vessels.py``: processor seconds of an epoch of the search that go into writing policies, Sinkhorn
divergences, the discriminator with its slow copy, and the controller's learning; and, apart from that, into applying the
policies to the images. Writes ``benchmarks/results/aadg_search_overhead.json``.
"""

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vessels import POLICIES, SHARED, vessels

import modicum
from modicum.engine.environment import environment
from modicum.engine.training.stage_module import StageModule
from modicum.methods.aadg import AadgStage, DomainDiscriminator, PolicySearch, SlowCopy
from modicum.methods.aadg import stage as stage_module

RESULTS = Path(__file__).parents[2] / "results" / "aadg_search_overhead.json"
EPOCHS = 4
SEARCH = (
    "policies written",
    "Sinkhorn divergences",
    "controller learns",
    "slow copy",
    "discriminator, forward",
)
SPENT: dict[str, float] = defaultdict(float)


def timed(owner: Any, name: str, what: str) -> None:
    """Adds the processor time of a function to ``SPENT[what]``."""
    function: Callable[..., Any] = getattr(owner, name)

    def wrapped(*given: Any, **named: Any) -> Any:
        began = time.process_time()
        try:
            return function(*given, **named)
        finally:
            SPENT[what] += time.process_time() - began

    setattr(owner, name, wrapped)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs/aadg-lodo"))
    given = parser.parse_args()
    timed(PolicySearch, "begin", "policies written")
    timed(PolicySearch, "reward", "Sinkhorn divergences")
    timed(PolicySearch, "end", "controller learns")
    timed(SlowCopy, "features", "slow copy")
    timed(SlowCopy, "follow", "slow copy")
    timed(AadgStage, "discriminator_losses", "discriminator, forward")
    timed(DomainDiscriminator, "features", "of which its features")
    timed(stage_module, "apply_sub_policies", "policies applied")
    timed(StageModule, "training_step", "steps")
    table = vessels(given.data, given.runs / "data")
    settings = {**SHARED, "epochs": EPOCHS, "validate_every": EPOCHS, "resamples": 0}
    run = modicum.fit(
        table, "aadg", name="overhead", runs=given.runs, overwrite=True, held_out="STARE", lr=3e-3, workers=1,
        policies=POLICIES, search_after=0, **settings,
    )  # fmt: skip
    epoch = SPENT["steps"] + SPENT["policies written"] + SPENT["controller learns"]
    search = sum(SPENT[name] for name in SEARCH)
    content = {
        "environment": environment(), "settings": settings, "steps": run.metrics["time"]["steps"],
        "seconds": dict(SPENT), "epoch_seconds": epoch / EPOCHS, "search_share": search / epoch,
        "policies_applied_share": SPENT["policies applied"] / epoch,
    }  # fmt: skip
    RESULTS.write_text(json.dumps(content, indent=1, default=str) + "\n", encoding="utf-8")
    print(
        json.dumps({key: content[key] for key in content if key not in ("environment", "settings")}, indent=1)
    )


if __name__ == "__main__":
    main()
