"""CLAIM 2024: what a paper on artificial intelligence in medical imaging should tell, in our own short words.

Source: Tejani et al., Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 Update, Radiology:
Artificial Intelligence 6(4), e240300 (2024). The numbers are the checklist's; the authors' words are in the paper.
"""

from modicum.report.review.item import Item

NAME = "CLAIM 2024"
SOURCE = "Tejani et al., Radiology: Artificial Intelligence 6(4):e240300, 2024, doi:10.1148/ryai.240300"
ITEMS = (
    Item("1", "Title that names the kind of AI", ("technology",), "the title"),
    Item(
        "2", "Structured abstract", ("flow", "performance"), "the abstract: design, population, conclusions"
    ),
    Item(
        "3",
        "Background and clinical role",
        ("about",),
        "the clinical problem, today's practice, where the model would act",
    ),
    Item("4", "Aims and hypotheses", (), "the aims, and hypotheses fixed beforehand"),
    Item("5", "Prospective or retrospective", (), "how and when the data came about"),
    Item("6", "Goal of the study", ("about",), "making, testing or comparing a model; for which use"),
    Item("7", "Where the data come from", ("data", "files"), "institutions, dates, links to public data"),
    Item("8", "Who and what was included", ("flow", "notes"), "criteria for patients and images, and why"),
    Item("9", "Preparation of images", ("preparation",), ""),
    Item(
        "10",
        "Parts of the data that were chosen",
        ("unused", "preparation"),
        "who chose regions or slices, and how",
    ),
    Item("11", "De-identification", (), "how patients were made unrecognisable"),
    Item(
        "12",
        "Missing data",
        ("broken", "unlabelled"),
        "how missing clinical data were handled, possible bias",
    ),
    Item("13", "How images were acquired", ("files",), "makers, models, protocols, resolution, contrast"),
    Item("14", "Reference standard", ("output",), "how the truth was obtained, so that others could do it"),
    Item("15", "Why this reference standard", (), "reasons, alternatives, known errors"),
    Item("16", "Who annotated", (), "number, training and experience of annotators"),
    Item("17", "Annotation of test images", (), "instructions, software, automatic steps"),
    Item(
        "18", "Agreement of annotators", (), "variability between and within, how disagreements were settled"
    ),
    Item("19", "Assignment to partitions", ("splits", "balance"), "why these proportions"),
    Item("20", "How disjoint the partitions are", ("disjoint", "copies"), ""),
    Item("21", "Planned size of the test set", ("sizes",), "the calculation, or why this size is enough"),
    Item("22", "The model in full", ("architecture", "recipe"), "a figure, if the network is your own"),
    Item("23", "Software", ("software",), ""),
    Item("24", "Initial weights", ("initial",), ""),
    Item("25", "Training", ("training", "augmentation"), ""),
    Item(
        "26",
        "Choice of the final model",
        ("selection",),
        "what else was tried, and how often test images were looked at",
    ),
    Item("27", "Ensembles", ("ensemble",), ""),
    Item(
        "28",
        "Measures of performance",
        ("measures",),
        "why these, and which published models they compare with",
    ),
    Item("29", "Uncertainty and significance", ("uncertainty",), ""),
    Item("30", "Robustness", ("subgroups", "domains"), "analyses under other settings or disturbances"),
    Item("31", "Explanations", ("explanations",), "whether they were checked"),
    Item("32", "Internal test", ("internal",), ""),
    Item("33", "External test", ("external",), "where the images come from; without one, why"),
    Item("34", "Registration of a trial", (), "register and number, or that it is no trial"),
    Item("35", "Flow of patients and images", ("flow",), "patients excluded before the data were assembled"),
    Item("36", "Patients in each partition", ("participants", "subgroups"), "age, sex, severity, sites"),
    Item("37", "Performance", ("performance", "subgroups"), ""),
    Item("38", "Accuracy with intervals", ("accuracy", "calibration"), ""),
    Item("39", "Failures", ("failures",), "what wrong answers would do to patients"),
    Item("40", "Limitations", ("cautions",), "biases, and where it may not hold"),
    Item("41", "What it means for practice", ("decision_curve",), "intended use, what stands in the way"),
    Item("42", "Full protocol", ("recipe",), "where the protocol is"),
    Item("43", "Availability", ("weights",), "where software, weights and data can be had"),
    Item("44", "Funding", (), "sources, and the role of the funders"),
)
