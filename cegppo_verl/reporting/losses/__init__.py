"""The losses as a reader sees them: a list, an explanation with curves, and the family side by side."""
