"""Every task's metrics by the task's name, without PyTorch: for those who read a run's files."""

from modicum.tasks.anomaly import metric_table as anomaly
from modicum.tasks.classification import metric_table as classification
from modicum.tasks.detection import metric_table as detection
from modicum.tasks.image_text import metric_table as image_text
from modicum.tasks.image_to_image import metric_table as image_to_image
from modicum.tasks.metric import Metric, find_metric
from modicum.tasks.segmentation import metric_table as segmentation

METRIC_TABLES: dict[str, tuple[Metric, ...]] = {
    "anomaly": anomaly.METRICS,
    "classification": classification.METRICS,
    "detection": detection.METRICS,
    "encoder": (),
    "image-text": image_text.METRICS,
    "image-to-image": image_to_image.METRICS,
    "segmentation": segmentation.METRICS,
}


def metric_named(name: str, task: str = "") -> Metric:
    """What a name in a run's files means; never an error, as the files may be of another version.

    Args:
        name: for instance ``auroc`` or ``dice/cup``.
        task: name of the task; empty for the first task that has the metric. In all tasks a name has one
            title, direction and range.

    Returns:
        For an unknown name, a metric with that name and without a description.
    """
    table_of_task = METRIC_TABLES.get(task)
    for table in METRIC_TABLES.values() if table_of_task is None else [table_of_task]:
        if (metric := find_metric(table, name)) is not None:
            return metric
    base, of_a_class, class_name = name.partition("/")
    unknown = Metric(base, base.replace("_", " ").capitalize(), "", higher_is_better=None)
    return unknown.of_class(class_name) if of_a_class else unknown
