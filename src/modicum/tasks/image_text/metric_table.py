"""Metrics of images and reports, which training stages compute in validation: completion, and finding each other."""

from modicum.tasks.metric import INFINITY, Metric

RANKS = (1, 5, 10)
"""At these numbers of answers, recall and precision are reported."""
DIRECTIONS = ("image_to_text", "text_to_image")
"""What looks for what: the beginning of the metrics' names."""
_WORDS = {"image_to_text": "reports by image", "text_to_image": "images by report"}

COMPLETION = (
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


def _of_direction(name: str) -> tuple[Metric, ...]:
    words = _WORDS[name]
    recalls = tuple(
        Metric(
            f"{name}_recall_at_{k}",
            f"Recall at {k}, {words}",
            f"share of queries with a right answer among the {k} best" if k > 1 else "share found at once",
            baseline=f"chance_recall_at_{k}",
            baseline_words="guessing",
            in_brief=k == 5,
        )
        for k in RANKS
    )
    precisions = tuple(
        Metric(
            f"{name}_precision_at_{k}",
            f"Precision at {k}, {words}",
            f"share of the {k} best that have the labels of the query"
            if k > 1
            else "share of best answers that have the labels of the query",
        )
        for k in RANKS
    )
    mrr = Metric(
        f"{name}_mrr", f"Mean reciprocal rank, {words}", "mean of one over the rank of the first right answer"
    )
    return (mrr, *recalls, *precisions)


RETRIEVAL = (
    Metric(
        "mrr",
        "Mean reciprocal rank",
        "one over the rank of the first right answer, the mean of both directions",
        in_brief=True,
    ),
    *(metric for name in DIRECTIONS for metric in _of_direction(name)),
    *(
        Metric(
            f"chance_recall_at_{k}",
            f"Chance, recall at {k}",
            "what guessing comes to on these reports",
            higher_is_better=None,
        )
        for k in RANKS
    ),
)

METRICS = (*COMPLETION, *RETRIEVAL)
