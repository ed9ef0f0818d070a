"""Checks before training: broken files, duplicates, and leaks between splits.

:mod:`~modicum.data.checks.scan` reads every image once and keeps its facts;
:mod:`~modicum.data.checks.duplicates` finds duplicates in them, and those in two splits.
"""
