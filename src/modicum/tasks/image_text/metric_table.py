"""Metrics of completed images and reports, which training stages compute in validation."""

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
