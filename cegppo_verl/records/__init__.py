"""What a run leaves behind: directories, progress, metrics, samples, provenance."""
