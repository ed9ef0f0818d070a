"""The headings of a model card, with the facts of a run under them.

Source: Mitchell et al., Model Cards for Model Reporting, FAT* 2019, doi:10.1145/3287560.3287596.
"""

from modicum.report.review.item import Item

SOURCE = "Mitchell et al., Model Cards for Model Reporting, FAT* 2019, doi:10.1145/3287560.3287596"
ITEMS = (
    Item(
        "",
        "Model details",
        ("technology", "architecture", "initial", "training", "software", "weights"),
        "who made it, version, licence, contact",
    ),
    Item("", "Intended use", ("about", "research"), "primary use and users; uses that are out of scope"),
    Item(
        "", "Factors", ("domains", "subgroups", "files"), "groups, instruments and settings that may matter"
    ),
    Item("", "Metrics", ("measures", "operating", "uncertainty"), "why these say what matters for the use"),
    Item(
        "",
        "Evaluation data",
        ("internal", "external", "disjoint"),
        "why these data; how they differ from practice",
    ),
    Item(
        "",
        "Training data",
        ("data", "splits", "balance", "preparation"),
        "where and when they were collected",
    ),
    Item("", "Quantitative analyses", ("performance", "calibration", "subgroups", "decision_curve"), ""),
    Item("", "Ethical considerations", (), "sensitive data, risks and harms, what was done about them"),
    Item("", "Caveats and recommendations", ("cautions",), "what to test before use, and what is unknown"),
)
