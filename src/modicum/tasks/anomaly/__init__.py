"""Anomalies: how abnormal an image is, learned from normal ones."""
