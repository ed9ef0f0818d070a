"""Runs as graphs that other programs compute: ONNX and OpenVINO, checked against PyTorch, with a card inside."""
