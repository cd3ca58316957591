"""Grading of responses: one path for toy tasks and real mathematics."""
