"""The recipe: every setting of a run, and how it is made from what a user gave."""
