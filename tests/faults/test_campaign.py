"""One of each fault of the campaign; the whole of it is run by hand (see its docstring)."""

from __future__ import annotations

import pytest
from faults import campaign

PLAN = [*campaign.plan(len(campaign.FAULTS), seed=1)]
# By turns under the local executor and on a cluster, whose jobs outlive the runner.
CASES = [(fault, seed, bool(index % 2)) for index, (fault, seed, _) in enumerate(PLAN)]


@pytest.mark.parametrize(("fault", "seed", "cluster"), CASES, ids=[case[0].__name__ for case in CASES])
def test_every_promise_holds_whatever_the_fault(fault: object, seed: int, cluster: bool) -> None:
    outcome = campaign.strike(fault, seed, cluster)  # type: ignore[arg-type]
    if outcome.remark.startswith("not run"):
        pytest.skip(outcome.remark)
    assert outcome.broken is None
