"""Trains stages: the loop, checkpoints, selection and meters."""
