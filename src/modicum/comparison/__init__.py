"""Compares methods on one data set: a grid of runs, and a table of their scores and costs."""
