"""Measures a predictor's maps by the masks of the images that were scored."""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool
from torch import nn
from torch.nn import functional as F

from modicum.data.image import ImageRef
from modicum.data.image_facts import ImageFacts
from modicum.data.manifest import MASKS_PREFIX, Manifest
from modicum.data.prepared import StoreSettings, read_prepared
from modicum.data.same_place import PlacedImage, check_same_place
from modicum.data.stores.image_store import ImageStore
from modicum.engine.devices import autocast
from modicum.engine.inputs.batches import in_batches, to_unit_range
from modicum.engine.recipe.settings import Recipe
from modicum.progress import bar, say
from modicum.tasks.scores import MapScores
from modicum.wording import count_of


@torch.no_grad()
def score_maps(
    scores: MapScores,
    network: nn.Module,
    recipe: Recipe,
    manifest: Manifest,
    store: ImageStore,
    store_positions: np.ndarray,
    device: torch.device,
    title: str,
) -> None:
    """Adds maps of the rows that have a mask, and of those in which nothing is to be found, to their scores.

    Nothing is done where no row has a mask, or the network makes no maps.

    Args:
        scores: of the rows.
        network: the predictor.
        recipe: of the run.
        manifest: with the columns ``mask`` or ``masks:*``.
        store: the decoded images.
        store_positions: where each row of the manifest stands in it.
        device: where to compute.
        title: of the split, for the progress bar.

    Raises:
        InputError: a mask of another size than its image.
    """
    rows = scores.rows()
    masks = _masks_of(manifest, rows)
    if not any(masks.values()) or not callable(getattr(network, "maps", None)):
        return
    if store.settings.crop != "none":
        say(f"maps are not measured by masks: crop '{store.settings.crop}' moves images, and not masks")
        return
    counted = np.array([row for row in rows.tolist() if masks[row] or scores.without_truth(row)])
    if (left_out := len(rows) - len(counted)) > 0:
        say(f"{title}: {count_of(left_out, 'abnormal image')} without a mask left out of scores of pixels")
    network.to(device).eval()
    with bar(f"measuring maps of {title}", len(counted)) as shown:
        for part in in_batches(counted, recipe.training.batch_size):
            images = to_unit_range(torch.from_numpy(store.get(store_positions[part])).to(device))
            with autocast(recipe.training.precision, device):
                values = next(iter(network.maps(images).values()))  # type: ignore[operator]
            size = images.shape[-2:]
            whole = F.interpolate(values[:, None].float(), size, mode="bilinear", align_corners=False)
            for row, one in zip(part.tolist(), whole[:, 0].cpu().numpy(), strict=True):
                where = manifest.describe_row(row)
                facts = store.facts[store_positions[row]]
                truth = [_mask(ref, store.settings, facts, where) for ref in masks[row]]
                scores.add_map(row, one, np.any(truth, axis=0) if truth else None)
            shown.advance(len(part))


def _masks_of(manifest: Manifest, rows: np.ndarray) -> dict[int, list[ImageRef]]:
    """The masks that each row names."""
    columns = [str(name) for name in manifest.table if name == "mask" or str(name).startswith(MASKS_PREFIX)]
    found: dict[int, list[ImageRef]] = {row: [] for row in rows.tolist()}
    for column in columns:
        named = np.flatnonzero(manifest.table[column].notna().to_numpy(dtype=bool))
        kept = named[np.isin(named, rows)]
        for row, ref in zip(kept.tolist(), manifest.subset(kept).refs(column), strict=True):
            found[row].append(ref)
    return found


def _mask(
    ref: ImageRef, settings: StoreSettings, image: ImageFacts | None, where: str
) -> Bool[np.ndarray, "h w"]:
    """A mask in the geometry of the stored image; all that is not 0 is marked."""
    own = replace(settings, channels=1, levels=256, kind="label_map", window=None, intensity="file")
    mask, record = read_prepared(ref, own)
    if image is not None:
        check_same_place(PlacedImage.of_facts(image), PlacedImage.of_image(mask), f"{where}: its mask")
    return record[:, :, 0] > 0
