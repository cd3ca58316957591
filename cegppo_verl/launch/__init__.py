"""Runs cells: the runner, its executors, and the checks before a run. Never imports verl."""
