"""The report of a study: its claims with numbers and verdicts, the evidence, what may be wrong with it."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence

from cegppo_verl.experiment.claims import StudyFile
from cegppo_verl.records.derived import sha256
from cegppo_verl.reporting import text
from cegppo_verl.reporting.claims import agreement, exploration, shown
from cegppo_verl.reporting.claims.exploration import Explored, explore, figures
from cegppo_verl.reporting.claims.forest import forest
from cegppo_verl.reporting.claims.measures import MEASURES
from cegppo_verl.reporting.claims.verdict import LEVEL, Decided, Grid, decide, tally
from cegppo_verl.reporting.sidecar import PROVENANCE, linked, provenance, provenance_file

MAKER = "cegppo study"
ABSENT = "not run"


def build_study(study: StudyFile, grids: Mapping[str, Grid], command: str) -> dict[str, bytes]:
    """The files of a study's report by name, in memory, sidecars included.

    Raises:
        UserError: a claim compares runs that mean different things by its measure.
    """
    found, explored = decide(study, grids), explore(study, grids)
    pictures = {"claims": forest(found), **figures(explored)}
    contents = {"report.md": _markdown(study, grids, found, explored, command), "claims.csv": _csv(found)}
    drawn = {"claims.csv": pictures["claims"][1]}
    for name, (files, what) in pictures.items():
        contents |= {f"{name}.{form}": content for form, content in files.items()}
        drawn |= {f"{name}.{form}": what for form in files}
    return contents | _sidecars(study, grids, contents, drawn, command)


def _sidecars(
    study: StudyFile,
    grids: Mapping[str, Grid],
    contents: Mapping[str, bytes],
    drawn: Mapping[str, str],
    command: str,
) -> dict[str, bytes]:
    """One beside each artefact, and what they share: the finished runs, as no other decides anything."""
    runs = {run.cell["id"]: run for grid in grids.values() for run in grid.runs if run.done}
    shared = provenance(study.name, list(runs.values()), command, {})
    whole = provenance_file(shared)
    digest = sha256(whole)
    beside = {
        f"{name}.json": linked(name, content, shared, digest, drawn.get(name), with_cells=False)
        for name, content in contents.items()
    }
    return {PROVENANCE: whole, **beside}


def _markdown(
    study: StudyFile,
    grids: Mapping[str, Grid],
    found: Sequence[Decided],
    explored: Sequence[Explored],
    command: str,
) -> bytes:
    parts = [
        f"# Study: {study.name}",
        text.markdown(study.question),
        _summary(found),
        *_findings(study),
        "![Every claim's number with its interval](claims.svg)",
        _caption(),
        "## Claims",
        *(_claim(claim.name, found) for claim in study.claims),
        *agreement.section(agreement.compare(study, grids)),
        *exploration.section(explored),
        "## Design",
        text.markdown(study.design),
        _evidence(grids),
        "## Threats to validity",
        "\n".join(f"- {text.markdown(threat)}" for threat in study.threats),
        f"Made by `{command}`; numbers unrounded in [claims.csv](claims.csv), sources in the sidecars.",
    ]
    return ("\n\n".join(parts) + "\n").encode()


def _summary(found: Sequence[Decided]) -> str:
    listing = ", ".join(f"{count} {verdict}" for verdict, count in tally(found).items())
    return f"{len(found)} tests of {len({one.claim.name for one in found})} claims: {listing}."


def _findings(study: StudyFile) -> list[str]:
    """What people made of it; written after the numbers, and marked so."""
    if not study.findings:
        return []
    listing = "\n".join(f"{place}. {text.markdown(one)}" for place, one in enumerate(study.findings, 1))
    return ["## Findings", "Written after the numbers below, in `ablations/studies`.", listing]


def _caption() -> str:
    return (
        "Dot and bar: mean over training seeds and its 95 % interval by Student's t; ticks are the seeds. "
        "Each number is drawn in units of the effect that this number of seeds would have found with a "
        "probability of 80 %, with the claimed sign to the right. Supported or refuted: p < .05 after Holm's "
        "correction over all tests with the same engine. Cannot tell is not evidence of no effect."
    )


def _claim(name: str, found: Sequence[Decided]) -> str:
    own = [one for one in found if one.claim.name == name]
    claim = own[0].claim
    head = [
        f"### {text.markdown(claim.claim)}",
        f"Source: {text.markdown(claim.source)}. Measured: {shown.meaning(claim.measure)}; "
        f"{_contrast(own[0])}. Expected: {claim.expected}.",
    ]
    titles = "evidence|seeds:|number:|detectable:|p (Holm):|verdict"
    note = [text.markdown(claim.note)] if claim.note else []
    return "\n\n".join([*head, shown.table(titles, [_row(one) for one in own]), *note])


def _contrast(one: Decided) -> str:
    claim = one.claim
    if claim.difference:
        return f"{claim.difference[0]} minus {claim.difference[1]}, paired by seed"
    if claim.slope:
        listing = ", ".join(f"{arm} at {value:g}" for arm, value in claim.slope.over.items())
        return f"least-squares slope over {listing}"
    assert claim.level is not None
    return f"{claim.level.arm} minus {claim.level.than:g}"


def _row(one: Decided) -> str:
    if one.result is None:
        return f"| {one.evidence} | 0 | {_absent(one.missing)} | | | |"
    kind = MEASURES[one.claim.measure.of]
    cells = (
        one.evidence,
        str(len(one.seeds)),
        f"{shown.interval(one.result.interval, kind.factor)} {kind.unit}".strip(),
        "" if math.isnan(one.result.detectable) else shown.number(kind.factor * one.result.detectable),
        "" if math.isnan(one.p_holm) else text.p_value(one.p_holm),
        f"**{one.verdict}**",
    )
    return f"| {' | '.join(cells)} |"


def _evidence(grids: Mapping[str, Grid]) -> str:
    rows = []
    for grid in grids.values():
        done = sum(run.done for run in grid.runs)
        rows.append(f"| {grid.name} | {done} of {len(grid.runs)} | {grid.engine} | `{grid.command}` |")
    return shown.table("evidence|runs finished:|engine|command", rows)


def _csv(found: Sequence[Decided]) -> bytes:
    buffer = io.StringIO()
    fields = ["claim", "evidence", "measure", "expected", "seeds", "values", "mean", "low", "high", "level"]
    writer = csv.DictWriter(
        buffer, [*fields, "detectable", "p", "p_holm", "verdict", "missing"], lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(map(_record, found))
    return buffer.getvalue().encode()


def _absent(why: str) -> str:
    return ABSENT if why in ("", ABSENT) else f"{ABSENT}: {text.markdown(why)}"


def _record(one: Decided) -> dict[str, object]:
    record: dict[str, object] = {
        "claim": one.claim.name,
        "evidence": one.evidence,
        "measure": one.claim.measure.of,
        "expected": one.claim.expected,
        "seeds": " ".join(map(str, one.seeds)),
        "values": " ".join(f"{value:.6g}" for value in one.values),
        "verdict": one.verdict,
        "missing": one.missing,
    }
    if one.result is None:
        return record
    numbers = {
        "mean": one.result.interval.point,
        "low": one.result.interval.low,
        "high": one.result.interval.high,
        "level": LEVEL,
        "detectable": one.result.detectable,
        "p": one.result.p_value,
        "p_holm": one.p_holm,
    }
    return record | {key: "" if math.isnan(value) else f"{value:.6g}" for key, value in numbers.items()}
