"""Predicted training memory against the engine's account of real steps, and what a GPU is predicted to need.

    OMP_NUM_THREADS=1 python benchmarks/memory_prediction.py

Writes ``benchmarks/results/memory_prediction.json``. Real steps are done with ViT-B/16 at 224 pixels, two images a
batch, on the CPU; predictions for a GPU are for 512 pixels and 16 images. Where PyTorch is built for CUDA (a GPU is
not needed), ``--cuda-build`` compares instead what autograd saves on PyTorch's own fake CUDA tensors with what the
stand-in for a GPU counts, and writes ``memory_prediction_cuda_build.json``.
"""

import argparse
import datetime
import json
import os
import platform
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import modicum

# isort: split
import numpy as np
import timm
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

from modicum.engine.inputs.batches import StageData, Stored
from modicum.engine.model import make_method
from modicum.engine.recipe.new_recipe import make_recipe
from modicum.engine.run_folder import RunFolder
from modicum.engine.training.meters import saved_tensors
from modicum.engine.training.stage_trainer import StageTrainer
from modicum.errors import InputError
from modicum.methods import ExtractStage, method_entries
from modicum.nn import Backbone
from modicum.planning.memory import predict
from modicum.progress import set_quiet
from modicum.tasks import Classification

RESULTS = Path(__file__).parent / "results"
BACKBONE, CLASSES = "vit_base_patch16_224", 5
TASK = Classification("multi-class", [str(number) for number in range(CLASSES)])
NETWORKS = {
    "vit_base_patch16_224": 512,
    "resnet50": 224,
    "convnext_tiny": 224,
    "swin_tiny_patch4_window7_224": 224,
    "densenet121": 224,
    "efficientnet_b0": 224,
}
MIB = 2**20


def real_account(method: str, size: int, batch: int) -> dict[str, Any]:
    """The engine's account of one real step on noise, without data sets, validation and reports."""
    settings = {
        "backbone": BACKBONE,
        "weights": "random",
        "image_size": size,
        "batch_size": batch,
        "epochs": 1,
    }
    recipe = make_recipe("noise", method, {**settings, "augment": "none", "device": "cpu"})
    labels = np.arange(batch) % CLASSES
    made = make_method(recipe, TASK, {"label": labels})
    images = np.random.default_rng(0).integers(256, size=(batch, size, size, 3), dtype=np.uint8)
    arrays, account = {"image": images}, {}
    for stage in made.stages():
        if isinstance(stage, ExtractStage):
            stage.eval()
            floats = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().float() / 255
            with torch.no_grad():
                arrays[stage.output] = stage({"image": floats}).numpy()
            continue
        rows = np.arange(batch)
        stored = {name: Stored(arrays[name].__getitem__, rows[None]) for name in stage.reads}
        data = StageData(stored, {"label": labels}, rows, rows[:0], labels)
        with tempfile.TemporaryDirectory() as folder:
            trainer = StageTrainer(stage, recipe, RunFolder(Path(folder)), data, TASK, torch.device("cpu"))
            account = trainer.run().memory
    return account


def compared(size: int = 224, batch: int = 2) -> list[dict[str, Any]]:
    """Prediction and account of every method."""
    rows = []
    for method in method_entries():
        began = time.process_time()
        found = predict(method, BACKBONE, size, batch, num_classes=CLASSES, device="cpu")
        seconds = time.process_time() - began
        account = real_account(method, size, batch)
        row = {
            "method": method,
            "predicted": found.accounted_bytes,
            "accounted": account["peak_bytes"],
            "predicted_saved": found.saved_bytes,
            "accounted_saved": account["activations_bytes"],
            "live_peak": found.peak_bytes,
            "seconds": round(seconds, 2),
        }
        print(row, flush=True)
        rows.append(row)
    return rows


def on_gpu(size: int = 512, batch: int = 16) -> list[dict[str, Any]]:
    """What a GPU with bfloat16 is predicted to need."""
    rows = []
    for method in method_entries():
        began = time.process_time()
        found = predict(method, BACKBONE, size, batch, num_classes=CLASSES, device="cuda")
        rows.append({"method": method, **asdict(found), "seconds": round(time.process_time() - began, 2)})
        print(method, round(found.peak_bytes / MIB), round(found.extraction_bytes / MIB), flush=True)
    return rows


def saved_on_fake_cuda(name: str, size: int, batch: int, bf16: bool) -> int:
    """What autograd saves of a network with a head on PyTorch's own fake CUDA tensors."""
    network = nn.Sequential(Backbone(name, (size, size)), nn.Identity())
    network[1] = nn.Linear(network[0].num_features, CLASSES)
    network.train()
    with FakeTensorMode(allow_non_fake_inputs=True):
        for module in network.modules():
            for own in (module._parameters, module._buffers):
                for key, value in own.items():
                    if value is not None:
                        fake = torch.empty(value.shape, dtype=value.dtype, device="cuda")
                        own[key] = nn.Parameter(fake) if isinstance(value, nn.Parameter) else fake
        images = torch.empty(batch, 3, size, size, device="cuda").contiguous(
            memory_format=torch.channels_last
        )
        labels = torch.zeros(batch, dtype=torch.int64, device="cuda")
        torch.set_autocast_dtype("cuda", torch.bfloat16)
        torch.set_autocast_enabled("cuda", bf16)  # torch.autocast switches itself off where there is no GPU
        try:
            with saved_tensors([*network.parameters(), *network.buffers()]) as account:
                F.cross_entropy(network(images), labels)
        finally:
            torch.set_autocast_enabled("cuda", False)
            torch.clear_autocast_cache()
    return account.bytes


def cuda_attention(
    query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0, **rest: Any
) -> Any:
    """The kernels that CUDA chooses; without a GPU, PyTorch cannot ask it."""
    if torch.is_autocast_enabled("cuda"):
        query, key, value = (tensor.bfloat16() for tensor in (query, key, value))
    aten = torch.ops.aten
    if query.dtype == torch.float32 or attn_mask is not None:
        return aten._scaled_dot_product_efficient_attention(query, key, value, attn_mask, True, dropout_p)[0]
    return aten._scaled_dot_product_flash_attention(query, key, value, dropout_p)[0]


def on_cuda_build(batch: int = 4) -> list[dict[str, Any]]:
    """PyTorch's fake CUDA tensors and the stand-in, network by network."""
    rows = []
    for name, size in NETWORKS.items():
        for precision in ("bf16", "32"):
            ours = predict("full", name, size, batch, num_classes=CLASSES, precision=precision).saved_bytes
            before, F.scaled_dot_product_attention = F.scaled_dot_product_attention, cuda_attention
            try:
                theirs = saved_on_fake_cuda(name, size, batch, precision == "bf16")
            finally:
                F.scaled_dot_product_attention = before
            row = {
                "network": name,
                "size": size,
                "precision": precision,
                "fake_cuda": theirs,
                "stand_in": ours,
            }
            print(row, flush=True)
            rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cuda-build", action="store_true")
    chosen = parser.parse_args()
    set_quiet(True)
    torch.set_num_threads(1)
    facts = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": platform.processor() or platform.machine(),
        "versions": {"modicum": modicum.__version__, "torch": torch.__version__, "timm": timm.__version__},
    }
    if chosen.cuda_build:
        if not torch.backends.cuda.is_built():
            raise InputError("this PyTorch is not built for CUDA", "install one that is")
        name, content = "memory_prediction_cuda_build", {"networks": on_cuda_build()}
    else:
        name, content = "memory_prediction", {"cpu": compared(), "gpu": on_gpu()}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps({**facts, **content}, indent=1) + "\n")


if __name__ == "__main__":
    main()
