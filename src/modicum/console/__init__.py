"""Output of the command line: tables and lines of text."""
