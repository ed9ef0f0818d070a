"""Inference with trained networks: predict, evaluate, explain, export, verify."""
