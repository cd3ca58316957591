"""Small tasks and base models for a CPU, and the folder where everything built from a seed is kept."""
