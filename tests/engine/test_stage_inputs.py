"""What a stage gets: records of the view that was drawn, images in the same view if asked for, or live features."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from modicum.data.boxes import BoxSource
from modicum.engine.inputs.batches import BatchPlan, StageData, Stored, in_channels_last
from modicum.engine.inputs.extraction import LiveStage
from modicum.engine.inputs.stage_inputs import StageInputs
from modicum.engine.model import backbone_facts
from modicum.engine.recipe.backbones import backbone_digest
from modicum.engine.recipe.new_recipe import make_recipe
from modicum.methods.fpt.stages import SideImages
from modicum.methods.linear import PooledFeatures
from modicum.methods.supervised import SupervisedStage
from modicum.nn import Backbone, Frozen
from modicum.tasks import Classification
from modicum.transforms import apply_view

ROWS, VIEWS = 400, ("identity", "hflip", "crop1")
TASK = Classification("multi-class", ["a", "b"])
PIXELS = np.random.default_rng(0).integers(0, 255, (ROWS, 6, 6, 3), dtype=np.uint8)


def read(positions):
    """Record ``v * ROWS + row`` of view ``v``: its own number."""
    return np.asarray(positions, dtype=np.float32)[:, None]


def data(views=VIEWS, aligned=False, live=None):
    places = np.arange(len(views) * ROWS).reshape(len(views), ROWS)
    images = Stored(lambda positions: PIXELS[positions], np.arange(ROWS)[None])
    stored = {"image": images} if live is None else {"image": images, "source": images}
    if live is None:
        stored["features"] = Stored(read, places)
    rows = np.arange(ROWS)
    return StageData(
        stored, {"label": rows % 2}, rows[:300], rows[300:], rows[:300] % 2,
        {} if live is None else {"features": live}, views, aligned,
    )  # fmt: skip


def batch_of(made, rows, views=None):
    return made.on_device(made.batches(BatchPlan([np.asarray(rows)], views=views))[0])


def test_views_are_drawn_anew_each_epoch_and_again_the_same():
    made = data()
    first, second = made.drawn_views(0, "tune", 0), made.drawn_views(0, "tune", 1)
    assert np.array_equal(first, data().drawn_views(0, "tune", 0))
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, made.drawn_views(1, "tune", 0))


def test_every_view_is_drawn_as_often_and_for_every_row():
    drawn = np.stack([data().drawn_views(0, "tune", epoch) for epoch in range(60)])
    assert set(np.unique(drawn)) == {0, 1, 2}
    shares = np.bincount(drawn.ravel()) / drawn.size
    np.testing.assert_allclose(shares, 1 / 3, atol=4 * (2 / 9 / drawn.size) ** 0.5)  # four standard errors
    assert all(len(set(column)) == 3 for column in drawn.T)


def test_nothing_is_drawn_where_there_is_one_view():
    assert data(("identity",)).drawn_views(0, "tune", 0) is None


def test_a_row_has_the_record_of_its_view_and_the_first_without_one():
    made = data()
    views = made.drawn_views(0, "tune", 3)
    rows = [5, 399, 17, 0]
    found = batch_of(made, rows, views)["features"][:, 0]
    assert found.tolist() == [views[row] * ROWS + row for row in rows]
    assert batch_of(made, rows)["features"][:, 0].tolist() == rows


@pytest.mark.parametrize("aligned", [False, True])
def test_the_image_shows_the_features_view_only_if_asked(aligned):
    made, rows = data(aligned=aligned), np.array([4, 9, 30])
    views = np.zeros(ROWS, dtype=np.int64)
    views[rows] = [2, 0, 1]
    shown = batch_of(made, rows, views)["image"]
    plain = torch.from_numpy(PIXELS[rows]).permute(0, 3, 1, 2) / 255
    for image, original, view in zip(shown, plain, (2, 0, 1), strict=True):
        expected = apply_view(original[None], VIEWS[view])[0] if aligned else original
        torch.testing.assert_close(image, expected)


def test_live_features_are_made_of_the_large_image_which_the_stage_does_not_see():
    seen = []

    def live(batch):
        seen.append(batch)
        return batch["image"].mean((1, 2, 3))

    made = data(live=live)
    found = batch_of(made, [3, 8], np.arange(ROWS) % 3)
    assert "source" not in found
    expected = torch.from_numpy(PIXELS[[3, 8]]).float().mean((1, 2, 3)) / 255
    torch.testing.assert_close(found["features"], expected)
    assert seen[0]["view"].tolist() == [0, 2]
    assert seen[0]["image"].dtype == torch.float32


# --- what a train stage reads -------------------------------------------------------------------------------------


class Reader(SupervisedStage):
    def __init__(self, reads, aligned=False):
        super().__init__(nn.Identity())
        self.reads, self.aligned_views = reads, aligned

    def parameter_groups(self):
        return []

    def forward(self, batch):
        return batch["image"]


@dataclass
class Prepared:
    """Four rows: three to learn from and one to validate."""

    store: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(get=lambda p: PIXELS[p]))
    positions: np.ndarray = field(default_factory=lambda: np.array([7, 5, 3, 1]))
    auxiliary_images: dict = field(default_factory=dict)
    boxes: BoxSource | None = None
    manifest: list = field(default_factory=lambda: [None] * 4)
    kinds: dict = field(default_factory=dict)

    @property
    def images(self):
        return self.store.get, self.positions

    def rows(self, split):
        return {"train": np.array([0, 1, 2]), "val": np.array([3])}[split]


RECIPE = make_recipe("made", "linear", {"backbone": "test_vit", "weights": "random"})


def inputs(**made):
    labels = {"label": np.array([0, 1, 0, 1])}
    found = StageInputs(RECIPE, Prepared(), TASK, labels, None, torch.device("cpu"))
    for name, (source, views) in made.items():
        found._made[name], found._views[name] = source, views
    return found


def live_stage():
    made = object.__new__(LiveStage)
    made._stage, made._context = SimpleNamespace(views=("identity",)), None
    return made


def test_a_stage_that_reads_images_gets_the_stored_ones_by_row():
    found = inputs().of(Reader(("image",)))
    assert np.array_equal(found.stored["image"].of(np.array([1, 3]), None), PIXELS[[5, 1]])
    assert (found.train_rows.tolist(), found.val_rows.tolist()) == ([0, 1, 2], [3])
    assert found.sampling_labels.tolist() == [0, 1, 0]
    assert found.views == ("identity",)


def test_what_nobody_provides_is_no_image():
    with pytest.raises(ValueError, match="reads 'feature', which no stage before it provides"):
        inputs().of(Reader(("feature", "image")))


def test_records_are_known_by_the_weights_that_a_backbone_has_when_they_are_made():
    backbone = Backbone("test_vit", (32, 32))
    stage = PooledFeatures(Frozen(backbone))
    before = backbone_facts(stage)
    assert before == {"name": "test_vit", "sha256": backbone_digest(backbone)}
    backbone.digest = before["sha256"]  # as it was made; an earlier stage trains it
    with torch.no_grad():
        next(backbone.parameters()).add_(1)
    assert backbone_facts(stage) != before
    assert backbone_facts(SideImages((8, 8))) == {}


def test_an_extract_stage_that_provides_images_takes_their_place():
    small = Stored(lambda positions: PIXELS[positions, :2, :2], np.arange(4)[None])
    found = inputs(
        image=(small, ("identity",)), features=(Stored(read, np.arange(8).reshape(2, 4)), VIEWS[:2])
    )
    stage = found.of(Reader(("features", "image"), aligned=True))
    assert stage.stored["image"] is small
    assert set(stage.stored) == {"image", "features"}
    assert (stage.views, stage.aligned) == (VIEWS[:2], True)
    assert set(found.of(Reader(("image",))).stored) == {"image"}


def test_what_is_computed_for_every_batch_brings_the_images_as_its_source():
    small = Stored(lambda positions: PIXELS[positions, :2, :2], np.arange(4)[None])
    found = inputs(image=(small, ("identity",)), features=(live_stage(), VIEWS)).of(
        Reader(("features", "image"))
    )
    assert set(found.stored) == {"image", "source"}
    assert set(found.live) == {"features"}
    assert np.array_equal(found.stored["source"].of(np.array([0]), None), PIXELS[[7]])
    assert found.views == VIEWS
    assert inputs().describe() is None


def test_images_of_relatives_and_saliency_reach_the_network_in_the_unit_range_too():
    stored = {name: Stored(lambda positions: PIXELS[positions], np.arange(ROWS)[None]) for name in
              ("image", "fellow_image", "partner_image", "partner_saliency")}  # fmt: skip
    rows = np.arange(ROWS)
    made = StageData(
        stored, {}, rows[:300], rows[300:], rows[:300], fellows=rows[::-1], partner_sampling="natural"
    )
    plan = made.training_plan([np.array([0, 1])], [np.array([7, 8])], 0, "tune", 0)
    batch = made.on_device(made.batches(plan)[0])
    expected = {
        "image": [0, 1],
        "fellow_image": [399, 398],
        "partner_image": [7, 8],
        "partner_saliency": [7, 8],
    }
    for name, shown in expected.items():
        pixels = torch.from_numpy(PIXELS[shown]).permute(0, 3, 1, 2) / 255
        torch.testing.assert_close(batch[name], pixels, msg=name)


def test_images_of_relatives_lie_in_channels_last_too():
    pictures = {name: torch.zeros(2, 3, 6, 6) for name in ("image", "fellow_image", "partner_target")}
    laid = in_channels_last({**pictures, "label": torch.zeros(2)})
    assert all(laid[name].is_contiguous(memory_format=torch.channels_last) for name in pictures)
