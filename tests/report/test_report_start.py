"""A page is made from files: nothing that takes seconds to load is needed for it."""

import subprocess
import sys

from made_run import MadeRun, make_run


def test_a_report_is_written_without_pytorch(tmp_path):
    folder = make_run(tmp_path / "run", MadeRun(images=(("test", 40),), pictures=2, resamples=20))
    code = (
        "import sys; from modicum.__main__ import main\n"
        "try:\n    main()\n"
        "finally:\n    print(sorted({'torch', 'lightning', 'timm'} & set(sys.modules)))"
    )
    words = [sys.executable, "-c", code, "report", str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [str(folder / "report.html"), "[]"], done.stderr
