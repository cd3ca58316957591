"""Parameters as a schedule over the trainer's global step: {step: value}, each value from its step on.

The paper's Fig. 6 (arXiv 2509.20712) is ``beta1: {1: 0.0, 585: 0.5}`` with β2 = 1. Steps may be text: a cell
is JSON, which has no other keys. The table is complete in itself, so a resumed run needs no state for it.
Any number of any loss of this project may follow one, the settings of a feedback controller included (a
falling entropy target, say): the controller is made anew from the step's parameters and keeps its state.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cegppo_verl.losses.control import Controller, Observation, State
from cegppo_verl.losses.loss import Loss
from cegppo_verl.losses.parameters import Param, from_values, specs

Table = tuple[tuple[int, float], ...]


@dataclass
class Schedule:
    """Piecewise constant parameters.

    Args:
        tables: per parameter its steps, ascending, and values.
    """

    tables: Mapping[str, Table]
    observes_entropy: bool = False

    def start(self) -> State:
        """Nothing to remember."""
        return {}

    def advance(self, state: State, seen: Observation) -> tuple[State, Mapping[str, float]]:
        """Each parameter's value of the largest step that is not after ``seen.step``."""
        return state, self.at(seen.step)

    def at(self, step: int) -> dict[str, float]:
        """The scheduled parameters' values during a step."""
        return {name: _at(table, step) for name, table in self.tables.items()}

    @property
    def switches(self) -> list[int]:
        """The steps at which some value changes."""
        return sorted({step for table in self.tables.values() for step, _ in table})


@dataclass
class Steered:
    """A loss's own controller while other parameters of that loss follow a schedule.

    Args:
        loss: with a controller. given: its parameters at the first step. schedule: those that vary.
        observes_entropy: whether the loss's controller does.
    """

    loss: Loss
    given: Mapping[str, Any]
    schedule: Schedule
    observes_entropy: bool

    def start(self) -> State:
        """The loss's controller's state."""
        return self._own(1).start()

    def advance(self, state: State, seen: Observation) -> tuple[State, Mapping[str, float]]:
        """The controller with the step's settings advances on its state."""
        after, values = self._own(seen.step).advance(state, seen)
        return after, self.schedule.at(seen.step) | dict(values)

    def _own(self, step: int) -> Controller:
        assert self.loss.controller is not None
        return self.loss.controller(from_values(self.loss.params, {**self.given, **self.schedule.at(step)}))


def controller_of(loss: Loss, given: Mapping[str, Any]) -> Controller | None:
    """The controller of a loss under parameters as given; None when none of them varies.

    Raises:
        ValueError: a parameter out of range, at any step; a schedule that :func:`check_schedule` refuses; a
            schedule on a parameter that the loss's own controller sets.
    """
    _check_tables(loss, given)
    schedule = Schedule({name: _table(value) for name, value in given.items() if isinstance(value, Mapping)})
    starting = starting_values(given)
    _check_every_step(loss, starting, schedule)
    own = None if loss.controller is None else loss.controller(from_values(loss.params, starting))
    if own is None:
        return schedule if schedule.tables else None
    if not schedule.tables:
        return own
    _refuse_clash(schedule.tables, own.advance(own.start(), Observation(1, 1))[1])
    return Steered(loss, starting, schedule, own.observes_entropy)


def _check_tables(loss: Loss, given: Mapping[str, Any]) -> None:
    for name, spec in specs(loss.params).items():
        table = given.get(name)
        problem = check_schedule(spec, table) if isinstance(table, Mapping) else ""
        if problem:
            raise ValueError(f"{name} {problem}")


def _check_every_step(loss: Loss, starting: Mapping[str, Any], schedule: Schedule) -> None:
    from_values(loss.params, starting)
    for step in schedule.switches:
        try:
            from_values(loss.params, {**starting, **schedule.at(step)})
        except ValueError as error:
            raise ValueError(f"from step {step} on: {error}") from error


def _refuse_clash(tables: Mapping[str, Any], values: Mapping[str, float]) -> None:
    clash = [name for name in tables if name in values]
    if clash:
        raise ValueError(f"{clash[0]} has a schedule, but this loss sets it itself while it runs")


def starting_values(given: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters during step 1: the value there in place of every schedule.

    Raises:
        ValueError: an empty schedule, or steps that are no whole numbers.
    """
    return {k: _at(_table(v), 1) if isinstance(v, Mapping) else v for k, v in given.items()}


def _table(table: Mapping[Any, float]) -> Table:
    if not table:
        raise ValueError("a schedule without a value for step 1")
    return tuple(sorted((int(step), float(value)) for step, value in table.items()))


def _at(table: Sequence[tuple[int, float]], step: int) -> float:
    return table[max(0, bisect_right([first for first, _ in table], step) - 1)][1]


def check_schedule(spec: Param, table: Mapping[Any, Any]) -> str:
    """What is wrong with a schedule of a parameter, as the end of a sentence; "" if nothing."""
    if spec.choices:
        return "cannot follow a schedule: it is a word, not a number"
    return _wrong_steps([str(step) for step in table]) or _wrong_values(spec, table)


def _wrong_steps(steps: list[str]) -> str:
    wrong = [step for step in steps if not step.isdecimal()]
    if wrong:
        return f"has a schedule whose step {wrong[0]!r} is not a whole number"
    numbers = [int(step) for step in steps]
    if min(numbers, default=2) > 1:
        return "has a schedule without a value for step 1"
    twice = [number for number in numbers if numbers.count(number) > 1]
    return f"has a schedule with two values for step {twice[0]}" if twice else ""


def _wrong_values(spec: Param, table: Mapping[Any, Any]) -> str:
    for step, value in table.items():
        problem = spec.problem(value) if value is not None else f"must be a number, got {value!r}"
        if problem:
            return f"{problem} (at step {step})"
    return ""


def shown(value: float | str | Mapping[Any, float] | None) -> str:
    """A parameter's value for people: ``0.5``, ``off``, or ``0 → 0.5 from step 585``."""
    if isinstance(value, Mapping):
        (_, first), *later = _table(value)
        return f"{first:g}" + "".join(f" → {then:g} from step {step}" for step, then in later)
    return "off" if value is None else value if isinstance(value, str) else f"{value:g}"


def schedulable(loss: Loss) -> list[str]:
    """Names of the parameters that may follow a schedule."""
    return [name for name, spec in specs(loss.params).items() if not spec.choices]
