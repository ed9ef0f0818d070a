"""Detection: boxes around what is looked for, with a class and a score each."""
