"""Hyper-parameter search: a study of Optuna over any setting, whose trials are ordinary runs."""
