"""Checks before training: broken files, duplicates, and leaks between splits.

:mod:`~modicum.data.checks.scan` reads every image once and keeps its facts;
:mod:`~modicum.data.checks.duplicates` finds in them what is there twice, and in two splits;
:mod:`~modicum.data.checks.fingerprint` describes the whole data set, with warnings that say what to do.
"""
