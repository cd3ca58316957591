"""Benchmark and ablation harness for entropy-controlling policy losses, built on verl."""

__version__ = "0.1.0"
