"""Names of the classes that nobody has named."""

BACKGROUND = "background"
FOREGROUND = "foreground"
"""The one class of binary masks."""
