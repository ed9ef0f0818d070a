"""ONNX files with a card: written whole, and read without trusting them.

The card is in the model's metadata as ``card``, beside it ``digest``: the SHA-256 of the card's text and of all other
bytes of the model. Nothing in a file is executed, and no file that it names is opened.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from modicum.atomic_files import atomic_file, write_text
from modicum.engine.inference.graphs.packages import package
from modicum.errors import InputError

SCHEMA = 1
"""Of the entry ``graph`` in a card."""
CARD, DIGEST = "card", "digest"
_AGAIN = "copy it again, or export the run again"


def card_file(out: Path) -> Path:
    """Where the card of a graph lies beside it: ``NAME.onnx.json``, as ``NAME.json`` may be that of a weights file."""
    return out.with_name(out.name + ".json")


def write_onnx(out: Path, model: Any, card: Mapping[str, Any]) -> Path:
    """Writes a graph with its card inside and beside it; returns the file.

    Args:
        out: the file, ``.onnx``.
        model: the ``onnx.ModelProto``; its metadata are replaced.
        card: plain values.

    Raises:
        ResourceError: the disk is full.
    """
    del model.metadata_props[:]
    text = json.dumps(card, ensure_ascii=False)
    body = model.SerializeToString()
    whole = body + _metadata({CARD: text, DIGEST: _digest(text, body)})  # a message is the sum of its parts
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(out) as file:
        file.write(whole)
    write_card(out, card, {"file": out.name, "sha256": hashlib.sha256(whole).hexdigest()})
    return out


def write_card(out: Path, card: Mapping[str, Any], weights: Mapping[str, str]) -> None:
    """Writes the card beside a graph, with the digests of its files."""
    content = {**card, "weights": weights}
    write_text(card_file(out), json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def read_onnx(path: Path) -> tuple[dict[str, Any], bytes]:
    """The card of a file that :func:`write_onnx` wrote, and its bytes.

    Raises:
        InputError: there is no such file, it is damaged or of a later version, it has no card, or it keeps data in
            other files.
    """
    onnx = package("onnx")
    if not path.is_file():
        raise InputError(f"exported file '{path}' does not exist", "check the path")
    whole = path.read_bytes()
    model = onnx.ModelProto()
    try:
        model.ParseFromString(whole)
    except Exception as error:  # protobuf has an error class of its own for each implementation
        raise InputError(f"'{path}' is damaged ({type(error).__name__})", _AGAIN) from error
    entries = {entry.key: entry.value for entry in model.metadata_props}
    if CARD not in entries:
        what = "is damaged" if not model.graph.node else "has no card"
        raise InputError(f"'{path}' {what}", "name a file that `modicum export --to onnx` wrote")
    end = _metadata({CARD: entries[CARD], DIGEST: entries.get(DIGEST, "")})
    if not whole.endswith(end) or _digest(entries[CARD], whole[: -len(end)]) != entries.get(DIGEST):
        raise InputError(
            f"'{path}' is damaged, or was changed since (graph and card do not have its digest)", _AGAIN
        )
    _check_alone(model, path)
    _check_version(model, path)
    return read_card(entries[CARD], path), whole


def read_card(text: str | bytes, path: Path) -> dict[str, Any]:
    """A graph's card from its text. Raises InputError where it is damaged, or of a later version."""
    try:
        card = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"the card in '{path}' is damaged ({type(error).__name__})", _AGAIN) from error
    graph = card.get("graph") if isinstance(card, dict) else None
    version = graph.get("schema") if isinstance(graph, dict) else None
    if not isinstance(version, int):
        raise InputError(f"the card in '{path}' is not of a graph", "export the run again")
    if version > SCHEMA:
        raise InputError(
            f"the card in '{path}' has schema {version}, of a later version of modicum",
            f"update modicum: it knows {SCHEMA}",
        )
    return dict(card)


def _metadata(entries: Mapping[str, str]) -> bytes:
    onnx = package("onnx")
    model = onnx.ModelProto()
    onnx.helper.set_model_props(model, dict(entries))
    return bytes(model.SerializeToString())


def _digest(text: str, body: bytes) -> str:
    return hashlib.sha256(text.encode() + b"\n" + hashlib.sha256(body).digest()).hexdigest()


def _check_alone(model: Any, path: Path) -> None:
    """Raises InputError where a tensor lies in another file: a path in it could name any file of this machine."""
    external = package("onnx").TensorProto.EXTERNAL
    for tensor in _tensors(model):
        if tensor.data_location == external or tensor.external_data:
            raise InputError(
                f"'{path}' keeps tensor '{tensor.name}' in another file, which is not opened",
                "export the run again: modicum writes one file",
            )


def _check_version(model: Any, path: Path) -> None:
    known = package("onnx").defs.onnx_opset_version()
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx") and entry.version > known:
            raise InputError(
                f"'{path}' has operators of opset {entry.version}, of a later version of ONNX",
                f"update onnx and onnxruntime: they know {known}",
            )


def _tensors(model: Any) -> Iterator[Any]:
    """All tensors of a model, those in attributes, functions and inner graphs too."""
    graphs = [model.graph, *model.functions, *(info.algorithm for info in model.training_info)]
    graphs += [info.initialization for info in model.training_info]
    while graphs:
        graph = graphs.pop()
        yield from getattr(graph, "initializer", ())
        for sparse in getattr(graph, "sparse_initializer", ()):
            yield from (sparse.values, sparse.indices)
        for node in graph.node:
            for attribute in node.attribute:
                yield from (attribute.t, *attribute.tensors)
                for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                    yield from (sparse.values, sparse.indices)
                graphs += [attribute.g, *attribute.graphs]
