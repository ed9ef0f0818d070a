"""Reads an augmentation from a YAML file: a policy that AADG found, or a list of operations."""

from pathlib import Path
from typing import Any

import yaml

from modicum.errors import InputError
from modicum.transforms import describe_augmentation, parse_augmentation


def names_a_file(augmentation: object) -> bool:
    """Whether an augmentation is given as the path of a YAML file."""
    return isinstance(augmentation, str) and augmentation.lower().endswith((".yaml", ".yml"))


def read_augmentation(path: Path) -> list[dict[str, Any]]:
    """The operations in a file, with all their parameters, in a recipe's format.

    Args:
        path: of a mapping with ``policies`` (what ``aadg`` writes as ``policy.yaml``), or of a list of operations, of
            which one may be ``{name: policy, policies: ...}``.

    Raises:
        InputError: the file cannot be read, or its content is not an augmentation; names the location in it.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"augmentation file '{path}' does not exist", "check the path") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(
            f"augmentation file '{path}' cannot be read ({type(error).__name__})",
            "give a YAML file with policies or a list of operations",
        ) from error
    if isinstance(content, dict) and content.get("policies") is not None:
        content = [{**content, "name": "policy"}]
    if not isinstance(content, list):
        raise InputError(
            f"augmentation file '{path}' has neither policies nor a list of operations",
            "give a mapping with 'policies', or a list such as [{name: rotate, degrees: [-10, 10]}]",
        )
    try:
        return describe_augmentation(parse_augmentation(content))
    except InputError as error:
        raise InputError(f"{path}: {error.problem}", error.remedy) from None
