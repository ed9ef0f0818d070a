"""Main program of a cell's process: reads a job as JSON from standard input, writes its outcome to standard output."""

import json
import os
import signal
import sys
import threading
from dataclasses import asdict


def main() -> None:
    """Runs one cell; stops it if the parent process is gone."""
    # Libraries print too: their output goes to standard error, so that standard output holds only the outcome.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    # Outside of training, which handles signals itself, SIGTERM acts as Ctrl-C: the run is recorded as interrupted.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    line = sys.stdin.buffer.readline()
    threading.Thread(target=_stop_when_alone, daemon=True).start()
    from modicum.comparison.run_cell import Job, run_cell
    from modicum.progress import set_quiet

    set_quiet(True)
    outcome = run_cell(Job(**json.loads(line)))
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # nothing is left to stop, and the parent may go now
    answer.write(json.dumps(asdict(outcome)) + "\n")
    answer.flush()


def _stop_when_alone() -> None:
    os.read(0, 1)  # returns only when the other end is closed
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
