"""TRIPOD+AI: what a paper on a clinical prediction model should tell, in our own short words.

Source: Collins et al., TRIPOD+AI statement: updated guidance for reporting clinical prediction models that use regression
or machine learning methods, BMJ 385, e078378 (2024). The numbers are the checklist's; its words are in
the paper.
"""

from modicum.report.review.item import Item

NAME = "TRIPOD+AI"
SOURCE = "Collins et al., BMJ 385:e078378, 2024, doi:10.1136/bmj-2023-078378"
ITEMS = (
    Item("1", "Title: model, population, outcome", ("about",), "the title, with population and outcome"),
    Item("2", "Abstract", ("performance",), "the abstract, by TRIPOD+AI's own list for abstracts"),
    Item("3a", "Medical context, and why a model", ("about",), "diagnosis or prognosis, existing models"),
    Item("3b", "For whom, by whom, when", (), "target population, place in care, users"),
    Item("3c", "Known inequalities", (), "between groups of people, in this disease"),
    Item("4", "Objectives", (), "development, evaluation, or both"),
    Item(
        "5a",
        "Sources of data",
        ("data",),
        "for training and test data: kind of study, why these, how representative",
    ),
    Item("5b", "Dates", (), "first and last patient, end of follow-up"),
    Item("6a", "Setting", ("domains",), "level of care, number and places of centres"),
    Item("6b", "Who was eligible", ("notes",), "criteria"),
    Item("6c", "Treatments", (), "if any mattered, and how they were handled"),
    Item(
        "7",
        "Preparation and quality checks",
        ("preparation", "broken", "quality"),
        "whether alike in all groups of people",
    ),
    Item("8a", "Outcome", ("output",), "its definition, when and how it was assessed, why this one"),
    Item("8b", "Who assessed the outcome", (), "qualification, if it takes judgement"),
    Item("8c", "Blinding of the outcome", (), "whether assessors knew predictors or predictions"),
    Item("9a", "Choice of predictors", ("predictors",), ""),
    Item("9b", "Predictors", ("predictors", "files"), "how and when images were taken"),
    Item("9c", "Who assessed predictors", ("no_rater",), ""),
    Item("10", "Sample size", ("sizes",), "how it came about, and why it is enough"),
    Item("11", "Missing data", ("broken", "unlabelled"), "reasons for leaving data out"),
    Item("12a", "Use of the data", ("splits", "disjoint"), ""),
    Item("12b", "Handling of predictors", ("preparation", "augmentation"), ""),
    Item(
        "12c",
        "Model and how it was built",
        ("architecture", "initial", "training", "selection"),
        "settings that were tried",
    ),
    Item(
        "12d",
        "Differences between clusters",
        ("domains", "subgroups"),
        "how hospitals or countries were handled",
    ),
    Item("12e", "Measures of performance", ("measures", "uncertainty"), "why these"),
    Item("12f", "Updating", ("updating",), ""),
    Item("12g", "How predictions were made", ("predicting",), ""),
    Item("13", "Class imbalance", ("balance", "imbalance"), ""),
    Item("14", "Fairness", ("subgroups",), "what was done for it, and why"),
    Item("15", "Output and thresholds", ("output", "operating"), ""),
    Item(
        "16",
        "Training and test data compared",
        ("participants",),
        "differences in setting, criteria, outcome",
    ),
    Item("17", "Ethics", (), "committee, approval, consent or waiver"),
    Item("18a", "Funding", (), "sources, and the role of the funders"),
    Item("18b", "Conflicts of interest", (), "of all authors"),
    Item("18c", "Protocol", (), "where it is, or that there is none"),
    Item("18d", "Registration", (), "register and number, or that it was not registered"),
    Item("18e", "Data", (), "whether and how they can be had"),
    Item("18f", "Code", ("recipe", "software"), "where your own code is"),
    Item("19", "Patients and public", (), "their part in the study, or none"),
    Item(
        "20a",
        "Flow of participants",
        ("flow", "participants"),
        "patients excluded before the data were assembled",
    ),
    Item(
        "20b", "Characteristics", ("participants", "subgroups"), "age, sex, dates, treatments, missing data"
    ),
    Item("20c", "Compared with the development data", ("participants",), "demographics and predictors"),
    Item("21", "Numbers in each analysis", ("participants",), ""),
    Item("22", "The model itself", ("weights", "recipe"), "where others can have it, under which conditions"),
    Item("23a", "Performance with intervals", ("performance", "accuracy", "calibration", "subgroups"), ""),
    Item("23b", "Performance by cluster", ("domains",), "results for hospitals or countries"),
    Item("24", "Results of updating", ("updating",), ""),
    Item("25", "Interpretation", (), "in the light of aims, fairness and earlier studies"),
    Item("26", "Limitations", ("cautions",), "sample, overfitting, missing data, and their effect"),
    Item(
        "27a", "Poor or missing input", ("unreadable",), "what a user should do with images of poor quality"
    ),
    Item("27b", "Users", ("predicting",), "what users do, and what they must know"),
    Item("27c", "Next steps", (), "for use elsewhere"),
)
