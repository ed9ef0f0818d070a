"""The recipe: every setting of a run, and how it is resolved from the user's settings."""
