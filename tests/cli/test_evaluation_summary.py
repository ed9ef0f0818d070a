"""The line that is printed of an evaluation."""

from modicum.console.summary import evaluation_summary


def test_a_segmentation_is_summed_up_by_its_dice_first():
    names = ("dice", "iou", "auroc", "accuracy")
    metrics = {name: {"value": 0.5, "low": 0.4, "high": 0.6} for name in names}
    [line] = evaluation_summary({"metrics": metrics, "images": 3, "patients": None}, "segmentation")
    assert line.startswith("dice 0.500 (0.400-0.600), auroc 0.500 (0.400-0.600), accuracy")
