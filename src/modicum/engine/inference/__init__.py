"""What is done with trained networks: predict, evaluate, explain, export, verify."""
