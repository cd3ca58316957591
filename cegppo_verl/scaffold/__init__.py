"""The first lines of a new loss: ``cegppo new-loss`` writes files that work and show where to change."""
