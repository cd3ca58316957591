"""The mathematics of the policy losses: torch and nothing else, one file per method."""
