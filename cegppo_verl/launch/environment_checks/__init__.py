"""What ``cegppo doctor`` looks at: one check per function, grouped by subject, each returning findings."""
