"""Every method's predictor as a graph: whether it can be one, how far it is from PyTorch, its size and its speed.

    OMP_NUM_THREADS=1 python benchmarks/export_methods.py
    OMP_NUM_THREADS=1 python benchmarks/export_methods.py --methods led cut --table

Some five minutes on one core. Methods are trained for two epochs on made images with the tiny networks of
``tests/contract/small_trainings.py``, exported with ``modicum export --to onnx``, and what the card says of the
comparison with PyTorch is kept; OpenVINO reads the same graph. Times are the processor's for one image in a batch of its
own, one thread, the least mean of three passes over the images of the comparison: of networks so small they say what a
call costs, and little of large networks. ``--methods`` measures some anew and keeps the others' numbers; ``--table``
prints the table of ``docs/export.md``.
"""

import argparse
import datetime
import json
import os
import platform
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "tests" / "contract"))
os.environ["OMP_NUM_THREADS"] = "1"

import modicum

# isort: split
import torch
from small_trainings import ALL, settings_of

from modicum.engine.inference.graphs.comparison import TOLERANCE, differences
from modicum.engine.inference.graphs.export_graph import COMPARED, LoadedRun, graph_network
from modicum.engine.inference.graphs.graph_file import read_onnx
from modicum.engine.inference.graphs.int8 import milliseconds
from modicum.engine.inference.graphs.run_images import sample_of_run
from modicum.engine.inference.graphs.runtime import OnnxNetwork, OpenVinoNetwork
from modicum.engine.inference.graphs.traced import noise_like
from modicum.engine.model import load_method
from modicum.errors import ModicumError
from modicum.methods import method_class
from modicum.methods.checks import write_made_data

RESULTS = Path(__file__).parent / "results" / "export_methods.json"


class Called(torch.nn.Module):
    """A graph by its arrays, as the comparison calls it."""

    def __init__(self, runner: Any) -> None:
        super().__init__()
        self.runner = runner

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.runner.run([one.numpy() for one in inputs])


def measured(run: modicum.Run, out: Path) -> dict[str, Any]:
    """What is known of one run's graph."""
    try:
        run.export(out, to="onnx")
    except ModicumError as error:
        return {"onnx": False, "reason": error.problem, "openvino": False}
    card, content = read_onnx(out)
    loaded = LoadedRun(run.folder, *load_method(run.folder))
    network, sample = graph_network(loaded), sample_of_run(run.folder, loaded.recipe, loaded.task, COMPARED)
    inputs = (sample.images, *noise_like(network, sample.images))
    graph = card["graph"]
    found: dict[str, Any] = {
        "onnx": True,
        "inputs": graph["inputs"][0]["shape"],
        "outputs": [entry["name"] for entry in graph["outputs"]],
        "noise_samples": graph["noise_samples"],
        "images": graph["checked"]["images"],
        "origin": graph["checked"]["origin"],
        "largest_difference": next(iter(graph["checked"]["largest_difference"].values())),
        "kilobytes": round(out.stat().st_size / 1000),
        "milliseconds": {
            "pytorch": round(milliseconds(network, inputs), 3),
            "onnxruntime": round(milliseconds(Called(OnnxNetwork(card, content, 1)), inputs), 3),
        },
    }
    import openvino

    try:
        runner = OpenVinoNetwork(card, openvino.Core().read_model(content), 1)
        difference = differences(network, runner, sample.images)[0]
        found |= {"openvino": difference <= TOLERANCE, "openvino_difference": float(f"{difference:.3g}")}
        found["milliseconds"]["openvino"] = round(milliseconds(Called(runner), inputs), 3)
    except Exception as error:
        found |= {"openvino": False, "openvino_reason": str(error).strip().splitlines()[-1][:200]}
    return found


def table(methods: dict[str, Any]) -> str:
    """The table of ``docs/export.md``."""
    lines = [
        "| method | outputs | ONNX | largest difference | kB | OpenVINO | ms: PyTorch | ONNX Runtime | OpenVINO |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, one in sorted(methods.items()):
        if not one["onnx"]:
            lines.append(f"| `{name}` | | no: {one['reason'].partition(' (')[0]} | | | no | | | |")
            continue
        times = one["milliseconds"]
        outputs = ", ".join(one["outputs"]) + (", any size" if "height" in one["inputs"] else "")
        outputs += ", with noise" if one["noise_samples"] else ""
        there = f"{one['openvino_difference']:.0e}" if one["openvino"] else "no"
        row = [
            f"`{name}`",
            outputs,
            "yes",
            f"{one['largest_difference']:.0e}",
            str(one["kilobytes"]),
            there,
            *(f"{times[by]:.1f}" if by in times else "" for by in ("pytorch", "onnxruntime", "openvino")),
        ]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--methods", nargs="*", default=list(ALL), choices=ALL, metavar="METHOD")
    parser.add_argument(
        "--runs", type=Path, help="Folder of finished runs, by method; trained anew by default."
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="Print the table of the results and end.")
    given = parser.parse_args()
    before = json.loads(given.out.read_text()) if given.out.is_file() else {}
    if given.table:
        print(table(before["methods"]))
        return
    torch.set_num_threads(1)
    methods, tables = before.get("methods", {}), {}
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        for name in given.methods:
            if given.runs is not None:
                run = modicum.Run.open(given.runs / name)
            else:
                task = method_class(name).tasks[0]
                if task not in tables:
                    (work / task).mkdir()
                    tables[task] = str(write_made_data(task, work / task))
                settings = settings_of(name) | {"batch_size": 4}
                run = modicum.fit(tables[task], name, name=name, runs=work / "runs", **settings)
            methods[name] = measured(run, work / f"{name}.onnx")
            print(name, methods[name], flush=True)
            packages = ("torch", "onnx", "onnxscript", "onnxruntime", "openvino")
            content = {
                "date": datetime.date.today().isoformat(),
                "machine": f"{platform.machine()}, one thread",
                "versions": {package: version(package) for package in packages},
                "tolerance": TOLERANCE,
                "methods": dict(sorted(methods.items())),
            }
            given.out.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
