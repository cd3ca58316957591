"""What every policy loss must satisfy, checked on anybody's loss: ``cegppo check-loss`` and a pytest fixture.

A loss comes in one of three forms (subjects.py); every check (checks_*.py) sees only the loss, so a
check never depends on how the loss is written. A failed check carries the
smallest input that shows it (search.py).
"""
