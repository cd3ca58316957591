"""Which cells to start now, and where: pure functions over what waits, what runs and what is free."""

from cegppo_verl.launch.scheduling.admission import Decision, admit, decide
from cegppo_verl.launch.scheduling.items import Item, Placement, Running, order
from cegppo_verl.launch.scheduling.reservation import Reservation, reserve

__all__ = ["Decision", "Item", "Placement", "Reservation", "Running", "admit", "decide", "order", "reserve"]
