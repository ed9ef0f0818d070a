"""Classification: targets, scores and tables."""
