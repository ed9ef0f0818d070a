"""Several methods on one data set, side by side: a grid of runs and the table of what they cost and give."""
