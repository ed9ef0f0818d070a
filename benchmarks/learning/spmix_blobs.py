"""SPMix on made images that tie a texture to each class: further seeds of the learning check, and its controls.

    python benchmarks/learning/spmix_blobs.py [--seeds 0 1 2] [--only NAME ...]

Five shapes of blobs, 400 to 8 images, a transformer of 4 x 4 patches (``tests/methods/blobs_on_textures.py``).
What is there already is not trained again.
"""

import argparse
import json
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "methods"))
from blobs_on_textures import COUNTS, EPOCHS, METHODS, found_by  # noqa: E402

from modicum.engine.environment import environment  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "spmix_blobs.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="*", default=list(METHODS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    content = json.loads(options.out.read_text()) if options.out.is_file() else {"runs": {}}
    for seed in options.seeds:
        for name in options.only:
            key = f"{name}, seed {seed}"
            if key in content["runs"]:
                continue
            began = time.process_time()
            content["runs"][key] = {**found_by(name, seed), "seconds": time.process_time() - began}
            content |= {
                "command": "python benchmarks/learning/spmix_blobs.py",
                "date": time.strftime("%Y-%m-%d"),
                "environment": environment(),
                "training images": list(COUNTS),
                "epochs": EPOCHS,
            }
            options.out.write_text(json.dumps(content, indent=1) + "\n")
            run = content["runs"][key]
            print(f"{key}: head {100 * run['head']:.1f}, tail {100 * run['tail']:.1f}", flush=True)


if __name__ == "__main__":
    main()
