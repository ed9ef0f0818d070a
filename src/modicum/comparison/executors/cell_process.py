"""The program of a cell's own process: a job as JSON on standard input, its outcome on standard output."""

import json
import os
import signal
import sys
import threading
from dataclasses import asdict


def main() -> None:
    """Runs one cell. Ends with it, or stops it where the process that asked for it is gone."""
    # Libraries print, too: what they say goes with the messages, and the answer alone where it is looked for.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    # Before and after training, which listens itself, a request to stop is Ctrl-C: the run is recorded as interrupted.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    line = sys.stdin.buffer.readline()
    threading.Thread(target=_stop_when_alone, daemon=True).start()
    from modicum.comparison.run_cell import Job, run_cell
    from modicum.progress import set_quiet

    set_quiet(True)
    outcome = run_cell(Job(**json.loads(line)))
    answer.write(json.dumps(asdict(outcome)) + "\n")
    answer.flush()


def _stop_when_alone() -> None:
    os.read(0, 1)  # comes back only when the other end is closed
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
