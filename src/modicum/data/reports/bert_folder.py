"""Reads a BERT in a local folder, as ``transformers`` saves it: its sizes and its tensors, without running any code."""

import json
from pathlib import Path
from typing import Any

from modicum.errors import InputError

_WEIGHTS = ("model.safetensors", "pytorch_model.bin", "model.pt")
_SIZES = {
    "text_width": "hidden_size",
    "text_depth": "num_hidden_layers",
    "text_heads": "num_attention_heads",
    "text_hidden": "intermediate_size",
    "text_positions": "max_position_embeddings",
    "text_segments": "type_vocab_size",
}


def bert_sizes(folder: Path | str) -> dict[str, Any]:
    """The sizes in a BERT's ``config.json``.

    Raises:
        InputError: there is no such file, it cannot be read, or is of another kind of network.
    """
    path = Path(folder) / "config.json"
    if not path.is_file():
        raise InputError(
            f"'{folder}' is not the folder of a BERT (no config.json in it)",
            "give a folder with config.json, vocab.txt or tokenizer.json, and model.safetensors",
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        sizes = {name: int(content[key]) for name, key in _SIZES.items()}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"'{path}' does not say the sizes of a BERT", "give the folder of a BERT") from error
    kind = content.get("model_type", "bert")
    if kind != "bert":
        raise InputError(f"'{folder}' holds a network of kind '{kind}'", "give the folder of a BERT")
    return sizes


def bert_weights(folder: Path | str) -> Path:
    """The file of weights in a BERT's folder. Raises :class:`InputError` where there is none."""
    for name in _WEIGHTS:
        if (path := Path(folder) / name).is_file():
            return path
    raise InputError(f"'{folder}' has no weights", f"put {' or '.join(_WEIGHTS[:2])} beside its config.json")
