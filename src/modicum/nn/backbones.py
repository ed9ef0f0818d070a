"""Backbones: any timm network, as a module that maps images in ``[0, 1]`` to feature vectors."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from modicum.errors import InputError, did_you_mean
from modicum.nn.architecture_guess import likely_architecture
from modicum.nn.hybrid_vit import register
from modicum.nn.transformers_layout import with_timm_names
from modicum.nn.weight_names import (
    COUNTER,
    missing_words,
    named_prefix,
    names_in_file,
    not_finite,
    prefixes_of,
    without_prefix,
)
from modicum.progress import say


class Backbone(nn.Module):
    """A timm network without its classifier.

    The normalisation the network was trained with happens inside, so that images stay in ``[0, 1]`` everywhere
    else. One-channel images are repeated to three channels.

    Args:
        name: a timm model name, for instance ``resnet50`` or ``vit_base_patch16_224.augreg_in21k``.
        image_size: height and width in pixels. Networks with position embeddings are built for this size.
        pretrained: fetch the weights timm knows for this name. Random weights otherwise.
        arguments: further ones for ``timm.create_model``.

    Attributes:
        random: whether its weights are still the random initial ones: not pre-trained, and none loaded.
        digest: SHA-256 of its tensors before a method changed or trained anything, if it was computed.

    Raises:
        InputError: unknown name, or an image size that the network cannot take.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str,
        image_size: tuple[int, int],
        *,
        pretrained: bool = False,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.image_size = image_size
        self.random = not pretrained
        self.digest: str | None = None
        self.body = _build(name, image_size, pretrained, arguments or {})
        self.num_features: int = self.body.num_features
        settings = self.body.pretrained_cfg
        mean, std = settings.get("mean", (0.5,) * 3), settings.get("std", (0.5,) * 3)
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    @property
    def normalisation(self) -> dict[str, list[float]]:
        """``mean`` and ``std`` of each channel, as :meth:`set_normalisation` takes them."""
        return {"mean": self.mean.flatten().tolist(), "std": self.std.flatten().tolist()}

    def set_normalisation(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Replaces timm's per-channel statistics by those that the weights were trained with."""
        for buffer, values in ((self.mean, mean), (self.std, std)):
            buffer.copy_(torch.tensor(list(values)).view(1, -1, 1, 1))

    def normalise(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 3 h w"]:
        """Repeats grey to three channels, subtracts the mean and divides by the standard deviation."""
        if images.shape[1] == 1:
            images = images.expand(-1, 3, -1, -1)
        return (images - self.mean) / self.std

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        """Images in ``[0, 1]`` to pooled feature vectors."""
        return self.body(self.normalise(images))

    def feature_map(self, images: Float[Tensor, "b c h w"]) -> Tensor:
        """The network's output before pooling; its layout depends on the network."""
        return self.body.forward_features(self.normalise(images))

    def pool(self, features: Tensor) -> Float[Tensor, "b d"]:
        """Pools the output of :meth:`feature_map` to feature vectors."""
        return self.body.forward_head(features)

    def spatial(self, features: Tensor) -> Float[Tensor, "b d rows columns"] | None:
        """A feature map with channels first, or None where it has no spatial layout."""
        if features.ndim == 3:  # tokens of a transformer, after any class and register tokens
            rows, columns = _grid(self.body)
            tokens = features[:, getattr(self.body, "num_prefix_tokens", 0) :]
            if tokens.shape[1] != rows * columns:
                return None
            return tokens.transpose(1, 2).unflatten(2, (rows, columns))
        if features.ndim == 4:
            channels_last = features.shape[-1] == self.num_features and features.shape[1] != self.num_features
            return features.permute(0, 3, 1, 2) if channels_last else features
        return None


_OF_PREDICTORS = ("_backbone.module.body.", "_backbone.body.")
"""What names begin with in exported predictors, of a frozen backbone and of another."""
_PREFIXES = (*_OF_PREDICTORS, "backbone.body.", "backbone.", "encoder.", "visual.")


def load_backbone_weights(backbone: Backbone, weights: Mapping[str, Tensor], source: str) -> None:
    """Loads a state dict into a backbone, resizing position embeddings to its image size.

    Args:
        weights: tensors under timm's names, with or without something before them: ``backbone.``, ``encoder.``, or what
            training frameworks put there (``model.``, ``teacher.``, ...), which is named; or vision transformers under
            the names of the transformers library. A classifier in it is ignored.
        source: what to call the weights in an error.

    Raises:
        InputError: tensors are missing, of another shape or not numbers. Nothing is ever left at random silently.
    """
    expected = backbone.body.state_dict()
    weights = with_timm_names(weights)
    state = _converted(_without_known_prefix(weights), backbone)
    if _misfits(state, expected) != ([], []):
        state = _under_another_prefix(weights, backbone, source) or state
    missing, wrong = _misfits(state, expected)
    if missing or wrong:
        raise _misfit(backbone, weights, source, missing, wrong)
    taken = {name: state.get(name, tensor) for name, tensor in expected.items()}
    if broken := not_finite(taken):
        raise InputError(
            f"weights '{source}' have values that are not numbers (NaN or infinite) in {len(broken)} of their tensors "
            f"(for instance '{broken[0]}')",
            "take an earlier checkpoint, or copy the file again",
        )
    backbone.body.load_state_dict(taken)
    backbone.random = False


def _without_known_prefix(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    state = dict(weights)
    for prefix in _PREFIXES:
        if any(name.startswith(prefix) for name in state):
            state = without_prefix(state, prefix)
    return state


def _under_another_prefix(
    weights: Mapping[str, Tensor], backbone: Backbone, source: str
) -> dict[str, Tensor] | None:
    """The tensors under the prefix that most of the network's have, if they are all there; says which it is."""
    expected = backbone.body.state_dict()
    prefixes = [prefix for prefix in prefixes_of(weights, expected) if prefix[0]]
    if not prefixes:
        return None
    state = _converted(without_prefix(weights, prefixes[0][0]), backbone)
    if _misfits(state, expected) != ([], []):
        return None
    say(named_prefix(prefixes, source))
    return state


def _converted(state: dict[str, Tensor], backbone: Backbone) -> dict[str, Tensor]:
    """Under timm's present names and for the backbone's image size; empty where timm cannot read them."""
    body = backbone.body
    convert = getattr(sys.modules[type(body).__module__], "checkpoint_filter_fn", None)
    if convert is not None:
        try:
            state = convert(state, body)
        except (KeyError, RuntimeError, ValueError, AttributeError):  # names of another network: nothing fits
            return {}
    for end in ("weight", "bias"):  # of a run with pool=mean: the norm that it learned after its blocks
        if f"norm.{end}" in body.state_dict() and f"norm.{end}" not in state and f"fc_norm.{end}" in state:
            state[f"norm.{end}"] = state[f"fc_norm.{end}"]
    return state


def _misfits(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> tuple[list[str], list[str]]:
    """Names that are missing, and those of another shape. Counters of batch normalisation need not be there."""
    missing = [name for name in expected if name not in state and not name.endswith(COUNTER)]
    return missing, [name for name in expected if name in state and expected[name].shape != state[name].shape]


def _misfit(
    backbone: Backbone, weights: Mapping[str, Tensor], source: str, missing: list[str], wrong: list[str]
) -> InputError:
    words = missing_words(len(missing), len(wrong), len(backbone.body.state_dict()), (missing + wrong)[0])
    inside = f"; {names_in_file(weights)}" if len(missing) > len(backbone.body.state_dict()) / 2 else ""
    return InputError(
        f"weights '{source}' do not fit backbone '{backbone.name}': {words}{inside}", _which_backbone(weights)
    )


def _which_backbone(weights: Mapping[str, Tensor]) -> str:
    guess = likely_architecture(weights)
    if guess is None:
        return "choose the backbone they were made for"
    return f"choose the backbone they were made for: they look like those of '{guess}' (--backbone {guess})"


def _build(name: str, image_size: tuple[int, int], pretrained: bool, further: Mapping[str, Any]) -> Any:
    import timm

    register()
    if name.startswith("hf-hub:"):
        is_timm_model = True
    else:
        architecture = name.split(".")[0]
        is_timm_model = timm.is_model(architecture)
        if is_timm_model and "." in name and name not in timm.list_pretrained(f"{architecture}.*"):
            tags = timm.list_pretrained(f"{architecture}.*")
            raise InputError(f"backbone '{name}' has an unknown weights tag", did_you_mean(name, tags))
    if not is_timm_model:
        raise InputError(f"backbone '{name}' is not a timm model", _similar_models(name))
    arguments: dict[str, Any] = {**further, "num_classes": 0, "pretrained": pretrained}
    arguments.pop("img_size", None)
    try:
        body = timm.create_model(name, img_size=image_size, **arguments)
    except TypeError:  # networks without position embeddings take any size and know no img_size
        body = timm.create_model(name, **arguments)
    except AssertionError as error:
        raise InputError(
            f"backbone '{name}' cannot take images of {image_size[0]}x{image_size[1]} pixels ({error})",
            "choose a size that its patches or windows divide",
        ) from error
    _check_patches(body, name, image_size)
    return body


def _check_patches(body: Any, name: str, image_size: tuple[int, int]) -> None:
    """Raises early for an image size that the network would only refuse in its first forward pass."""
    from timm.layers import PatchEmbed

    patches = getattr(body, "patch_embed", None)
    if not isinstance(patches, PatchEmbed) or patches.dynamic_img_pad:
        return
    patch = max(patches.patch_size)
    size = f"image size {image_size[0]}x{image_size[1]}"
    if min(image_size) < patch:
        raise InputError(
            f"{size} is smaller than one {patch}-pixel patch of '{name}'",
            f"pass --image-size {patch} or more",
        )
    if any(side % patch for side in image_size):
        below = min(image_size) // patch * patch
        raise InputError(
            f"{size} is not a multiple of the {patch}-pixel patches of '{name}'",
            f"pass for instance --image-size {below} or {below + patch}",
        )


def _similar_models(name: str) -> str:
    import difflib

    import timm

    close = difflib.get_close_matches(name, timm.list_models(), n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(repr(c) for c in close)}? " if close else ""
    return f"{hint}`modicum methods --backbones 'vit*'` lists names"


def _grid(body: nn.Module) -> tuple[int, int]:
    embedding = getattr(body, "patch_embed", None)
    size = getattr(embedding, "grid_size", None)
    return (int(size[0]), int(size[1])) if size is not None else (0, 0)
