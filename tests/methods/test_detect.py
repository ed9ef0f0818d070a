"""Detection by Faster R-CNN: published counts, what is learned and what is not, files that are boxes again."""

import json

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

import modicum
from modicum.data.boxes import read_boxes
from modicum.data.placement import Placement
from modicum.errors import InputError
from modicum.methods.checks import write_made_data
from modicum.nn import Backbone
from modicum.nn.faster_rcnn import DetectorSettings, FasterRcnn
from modicum.report import build

TINY = DetectorSettings(
    anchor_scale=2, channels=16, head_width=32, proposals=50, samples=32, max_detections=20
)


def _tiny(num_classes=2, **settings):
    torch.manual_seed(0)
    return FasterRcnn(Backbone("test_resnet", (64, 64)), num_classes, TINY, **settings)


# --- the network ------------------------------------------------------------------------------------------------------


def test_parameters_are_those_of_the_published_parts():
    """ResNet-50 with FPN, four classes: counted from the layers' sizes in the papers."""
    with torch.device("meta"):
        network = FasterRcnn(Backbone("resnet50", (512, 512)), 4)
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in network.named_children()}
    lateral = sum(channels * 256 + 256 for channels in (256, 512, 1024, 2048))
    assert counts["pyramid"] == lateral + 4 * (256 * 256 * 9 + 256)
    assert counts["rpn"] == (256 * 256 * 9 + 256) + 256 * 3 + 3 + 256 * 12 + 12
    assert counts["heads"] == (256 * 49 + 1) * 1024 + (1024 + 1) * 1024 + (1024 + 1) * 5 + (1024 + 1) * 20
    assert counts["encoder"] == 23_508_032


def test_anchors_are_those_of_the_release():
    """Scale 8 at strides 4 to 64, ratios 1/2, 1, 2: boxes of 32 to 512 pixels' area."""
    network = FasterRcnn(Backbone("test_resnet", (64, 64)), 4)
    sides = [float((c[1, 2:] - c[1, :2]).prod()) ** 0.5 for c in network.rpn.anchor_generator.cell_anchors]
    assert sides == [32, 64, 128, 256, 512]
    assert [len(c) for c in network.rpn.anchor_generator.cell_anchors] == [3] * 5
    assert (network.rpn.nms_thresh, network.heads.nms_thresh, network.heads.score_thresh) == (0.7, 0.5, 0.05)


def test_frozen_are_the_stem_and_the_first_stage():
    network = FasterRcnn(Backbone("resnet18", (64, 64)), 1, TINY)
    held = {id(p) for p in network.early_parameters(1)}
    names = {n.split(".")[0] for n, p in network.encoder.body.named_parameters() if id(p) in held}
    assert names == {"conv1", "bn1", "layer1"}
    assert network.early_parameters(0) == []
    inside = FasterRcnn(Backbone("test_convnext", (64, 64)), 1, TINY)
    held = {id(p) for p in inside.early_parameters(1)}
    names = {".".join(n.split(".")[:2]) for n, p in inside.encoder.body.named_parameters() if id(p) in held}
    assert names == {"stem.0", "stem.1", "stages.0"}


@pytest.mark.parametrize("fixed", [True, False])
def test_norms_keep_their_statistics_where_they_are_fixed(fixed):
    network = _tiny(fixed_norms=fixed).train()
    before = network.encoder.body.bn1.running_mean.clone()
    network.losses(
        torch.rand(2, 3, 64, 64), torch.tensor([[[8.0, 8, 24, 24]]] * 2), torch.zeros(2, 1, dtype=int)
    )
    assert torch.equal(before, network.encoder.body.bn1.running_mean) == fixed


def test_a_network_of_one_grid_is_refused():
    with pytest.raises(InputError, match="has no maps of several sizes"):
        FasterRcnn(Backbone("test_vit", (160, 160)), 1, TINY)


@pytest.mark.parametrize("size", [(64, 64), (50, 70), (33, 97)])
def test_boxes_lie_in_the_image_and_are_the_same_alone(size):
    network = _tiny().eval()
    network.heads.score_thresh = 0.0
    images = torch.rand(3, 3, *size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        together, alone = network(images), network(images[:1])
    assert together.shape == (3, 20, 6)
    real = together[together.isfinite().all(-1)]
    assert len(real)
    assert (real[:, :2] >= 0).all()
    assert (real[:, 2] <= size[1]).all()
    assert (real[:, 3] <= size[0]).all()
    assert set(real[:, 5].tolist()) <= {0, 1}
    assert torch.allclose(together[0], alone[0], atol=1e-3, equal_nan=True)


@pytest.mark.parametrize("loss", ["l1", "smooth_l1"])
def test_losses_reach_all_parts_and_images_without_boxes_are_background(loss):
    torch.manual_seed(0)
    settings = DetectorSettings(**{**vars(TINY), "box_loss": loss})
    network = FasterRcnn(Backbone("test_resnet", (64, 64)), 2, settings, fixed_norms=False).train()
    boxes = torch.full((2, 2, 4), torch.nan)
    boxes[0, 0] = torch.tensor([8.0, 8, 24, 30])
    found = network.losses(torch.rand(2, 3, 64, 64), boxes, torch.tensor([[1, -1], [-1, -1]]))
    assert set(found) == {"loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg"}
    sum(found.values()).backward()
    for part in (network.encoder, network.pyramid, network.rpn, network.heads):
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters())
    none = network.losses(torch.rand(1, 3, 64, 64), torch.zeros(1, 0, 4), torch.zeros(1, 0, dtype=int))
    assert none["loss_box_reg"] == none["loss_rpn_box_reg"] == 0


def test_l1_is_the_plain_distance_of_edges():
    """The heads' loss of edges of one box that is drawn for itself: the mean over samples of |delta| of its class."""
    network = _tiny(1).train()
    with torch.no_grad():  # no proposal but the true box itself; the regression says 0.3 for all edges
        network.heads.box_predictor.bbox_pred.weight.zero_()
        network.heads.box_predictor.bbox_pred.bias.fill_(0.3)
    box = torch.tensor([[4.0, 4, 20, 20]])
    maps, listed = network._seen(torch.rand(1, 3, 64, 64))
    targets = [{"boxes": box, "labels": torch.tensor([1])}]
    _, losses = network.heads(maps, [torch.zeros(0, 4)], listed.image_sizes, targets)
    assert losses["loss_box_reg"].item() == pytest.approx(4 * 0.3, abs=1e-5)


# --- from the network's pixels to the file's --------------------------------------------------------------------------


@pytest.mark.parametrize("fit", ["stretch", "pad", "crop"])
def test_boxes_come_back_to_the_file(fit):
    place = Placement.of((300, 500), (64, 80), fit)
    boxes = np.array([[120.0, 60, 200, 90], [240, 100, 300, 220]])
    assert np.allclose(place.source_boxes(place.seen_boxes(boxes)), boxes)


def test_what_lies_in_the_padding_has_no_area():
    place = Placement.of((100, 200), (64, 64), "pad")
    back = place.source_boxes(np.array([[10.0, 0, 20, 10], [10, 50, 20, 64]]))
    assert (back[:, 3] - back[:, 1] <= 0).all()


# --- a run ------------------------------------------------------------------------------------------------------------

SMALL = {
    "weights": "random", "image_size": (32, 48), "epochs": 1, "batch_size": 4, "warmup_epochs": 0, "resamples": 20,
    "workers": 0, "device": "cpu", "backbone": "test_resnet", "channels": 16, "head_width": 32, "proposals": 50,
    "samples": 32, "max_detections": 10, "anchor_scale": 2, "score_floor": 0.0, "leaks": "allow",
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_made_data("detection", tmp_path_factory.mktemp("eyes"))


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    return modicum.fit(data, "detect", runs=tmp_path_factory.mktemp("runs"), **SMALL)


def test_an_evaluation_leaves_scores_boxes_and_pictures(run):
    folder = run.path / "evaluations/test"
    found = json.loads((folder / "metrics.json").read_text())["metrics"]
    assert {"map", "map_50", "map_75", "froc", "map_50/dark", "map_50/bright"} <= set(found)
    boxes = pd.read_csv(folder / "boxes.csv")
    assert list(boxes.columns) == [
        *("image", "x0", "y0", "x1", "y1", "class", "score", "image_width", "image_height", "unlike_training")
    ]
    scores, found = (
        pd.read_csv(folder / name, dtype=str, keep_default_na=False).set_index("image")["unlike_training"]
        for name in ("predictions.csv", "boxes.csv")
    )
    coco = json.loads((folder / "boxes.json").read_text())["images"]
    flags = {image["file_name"]: image["unlike_training"] for image in coco}
    assert flags == scores.to_dict() == found.to_dict()
    assert set(boxes["class"].dropna()) <= {"dark", "bright"}
    assert (boxes["x1"].dropna() <= 40).all()  # of the files of 40 x 40, not of the network's 48 x 32
    examples = json.loads((folder / "examples/examples.json").read_text())
    assert [panel["name"] for panel in examples[0]["panels"]] == ["image", "prediction", "truth"]


def test_the_report_shows_boxes(run):
    page = build(run.path).read_text()
    assert "false positives an image" in page
    assert "finds “bright” and “dark”" in page
    assert "What it learns from" in page
    sheet = cv2.imread(str(run.path / "previews" / "tune.png"))
    half = (sheet.shape[1] - 4) // 2
    plain, drawn = sheet[:, :half], sheet[:, half + 4 :]
    blue = (255, 190, 80)  # as OpenCV orders the colours of true boxes
    assert not (plain == blue).all(2).any()
    assert (drawn == blue).all(2).any(), "the boxes that are learned from are drawn"


@pytest.mark.parametrize("name", ["found.csv", "found.json"])
def test_what_is_found_is_boxes_again(run, data, tmp_path, name):
    images = pd.read_csv(data)["image"].tolist()[:3]
    out = tmp_path / name
    run.predict([data.parent / image for image in images], out, device="cpu")
    back = read_boxes(out)
    assert len(back.images) == 3
    for one in back.images.values():
        assert one.size == (40, 40)
        assert len(one) <= 10
        assert one.scores is None or ((one.scores >= 0) & (one.scores <= 1)).all()
    table, plain = data.with_name("images.csv"), pd.read_csv(data)[["image", "split", "patient"]]
    plain[plain["image"].isin(images)].to_csv(table, index=False)
    manifest = modicum.load(table, columns={"boxes": str(out)})
    assert manifest.table["boxes"].notna().all()


def test_csv_and_coco_say_the_same(run, data, tmp_path):
    image = data.parent / pd.read_csv(data)["image"][0]
    run.predict([image], tmp_path / "a.csv", device="cpu")
    run.predict([image], tmp_path / "a.json", device="cpu")
    table, coco = (next(iter(read_boxes(tmp_path / name).images.values())) for name in ("a.csv", "a.json"))
    assert table.class_names == coco.class_names
    assert np.allclose(table.xyxy, coco.xyxy, atol=2e-3)


def test_a_broken_image_is_a_row_with_an_error(run, data, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    summary = run.predict(
        [data.parent / pd.read_csv(data)["image"][0], tmp_path / "bad.png"], tmp_path / "p.csv"
    )
    assert (summary.predicted, summary.broken) == (1, 1)
    assert (
        pd.read_csv(tmp_path / "p.csv").set_index("image").filter(like="bad", axis=0)["error"].notna().all()
    )
    back = read_boxes(tmp_path / "p.csv")  # nothing is said of the image that could not be read
    assert len(back.images) == 1
    assert "left out: 1 row with an error" in " ".join(back.notes)


def test_other_suffixes_and_maps_are_refused(run, data, tmp_path):
    image = data.parent / pd.read_csv(data)["image"][0]
    with pytest.raises(InputError, match=r"end it with .csv, .parquet or .json"):
        run.predict([image], tmp_path / "found.txt")
    with pytest.raises(InputError, match="predictions that are boxes"):
        run.predict([image], tmp_path / "found.csv", maps=tmp_path / "maps")


def test_other_data_are_evaluated_by_their_own_boxes(run, data, tmp_path):
    table = pd.read_csv(data)
    first = table[table["split"] == "test"].drop(columns="split")
    first["boxes"] = json.dumps({"boxes": [[1, 2, 30, 30]], "classes": ["dark"]})
    first.to_csv(data.with_name("other.csv"), index=False)
    found = run.evaluate(data.with_name("other.csv"), workers=0, name="other")
    assert found["images"] == len(first)
    first["boxes"] = json.dumps({"boxes": [[1, 2, 30, 30]], "classes": ["drusen"]})
    first.to_csv(data.with_name("others.csv"), index=False)
    with pytest.raises(InputError, match="boxes are of class 'drusen', and known are bright, dark"):
        run.evaluate(data.with_name("others.csv"), workers=0, name="others")
    first.drop(columns="boxes").to_csv(data.with_name("none.csv"), index=False)
    with pytest.raises(InputError, match="says nothing of any image"):
        run.evaluate(data.with_name("none.csv"), workers=0, name="none")


def test_data_without_boxes_are_refused_before_training(data, tmp_path):
    bare = data.with_name("bare.csv")
    pd.read_csv(data)[["image", "split", "patient"]].to_csv(bare, index=False)
    with pytest.raises(InputError, match="learns from boxes, and the data have none; name their column"):
        modicum.fit(bare, "detect", runs=tmp_path, **SMALL)
