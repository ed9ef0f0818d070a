"""The metrics of completed images and reports in words and numbers: what learning stages say in validation."""

from modicum.tasks.metric import INFINITY, Metric

METRICS = (
    Metric(
        "image",
        "Error of hidden patches",
        "mean squared error of hidden patches; lower is better",
        higher_is_better=False,
        range=(0.0, INFINITY),
        per_image=True,
        in_brief=True,
    ),
    Metric(
        "report",
        "Loss of hidden words",
        "cross-entropy of hidden words, in nats; lower is better",
        higher_is_better=False,
        range=(0.0, INFINITY),
        per_image=True,
        in_brief=True,
    ),
    Metric(
        "report_accuracy",
        "Hidden words guessed right",
        "share of hidden words; 1 is all",
        per_image=True,
        in_brief=True,
    ),
)
