"""What the command line shows: tables and lines of text."""
