"""Training sets and benchmarks: what they are, from where, at which revision, and as a file that verl reads.

``cegppo data``. The catalogue (``catalog/*.yaml``) names sources and constants; ``fetch`` turns them into
``<assets>/<name>/<train|test>.parquet`` with a sidecar that holds every checksum; ``overlap`` compares sets.
"""
