"""All tensors of a network, to be written into a file that stands alone, and back into a network of the same kind."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from modicum.errors import InputError
from modicum.nn.frozen import deduplicated


def whole_state(network: nn.Module) -> dict[str, Tensor]:
    """The state dict of a network, frozen parts and all, as a safetensors file takes it.

    A tensor with several names comes under its first. Tensors that share memory are copied.
    """
    state = network.state_dict(keep_vars=True)
    tensors = deduplicated({name: tensor for name, tensor in state.items() if isinstance(tensor, Tensor)})
    used: set[int] = set()
    separate = {}
    for name, tensor in tensors.items():
        storage = tensor.untyped_storage()
        shared = storage.data_ptr() in used or storage.nbytes() != tensor.nbytes
        used.add(storage.data_ptr())
        separate[name] = tensor.detach().clone() if shared else tensor.detach()
    return separate


@torch.no_grad()
def load_whole_state(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Puts the tensors of :func:`whole_state` into a network of the same kind.

    Buffers take the size they come with (memory banks, cluster centres); parameters must have theirs.

    Raises:
        InputError: names, shapes or types do not fit the network. It may be changed in part.
    """
    expected = {name: t for name, t in network.state_dict(keep_vars=True).items() if isinstance(t, Tensor)}
    names_of: dict[int, list[str]] = {}
    for name, tensor in expected.items():
        names_of.setdefault(id(tensor), []).append(name)
    loaded, odd = set(), []
    for name, tensor in tensors.items():
        current = expected.get(name)
        if current is not None and current.shape == tensor.shape and current.dtype == tensor.dtype:
            current.copy_(tensor)
        elif not _replace_buffer(network, [name] if current is None else names_of[id(current)], tensor):
            odd.append(name)
            continue
        loaded.update([name] if current is None else names_of[id(current)])
    odd += [name for name in expected if name not in loaded and name not in tensors]
    if odd:
        raise InputError(
            f"{len(odd)} tensors do not fit the network (for instance '{min(odd)}')",
            "use the settings and the versions that it was made with",
        )


def _replace_buffer(network: nn.Module, names: list[str], tensor: Tensor) -> bool:
    """Makes a copy of a tensor the buffer of these names; False where they are none."""
    copy = tensor.clone()
    for name in names:
        owner, _, last = name.rpartition(".")
        try:
            buffers = network.get_submodule(owner)._buffers
        except AttributeError:
            return False
        if last not in buffers:
            return False
        buffers[last] = copy
    return True
