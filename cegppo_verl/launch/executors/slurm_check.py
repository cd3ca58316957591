"""Before anything is submitted to Slurm: what would make jobs wait for ever or be refused, said once."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from cegppo_verl.errors import UserError, did_you_mean
from cegppo_verl.launch.executors import slurm_client
from cegppo_verl.launch.executors.base import Task
from cegppo_verl.launch.executors.profile import SlurmProfile
from cegppo_verl.launch.executors.slurm_script import WARNING_SECONDS, render

PROGRAMS = ("sbatch", "squeue", "scancel", "sinfo", "scontrol")
SHORTEST = 5 * 60  # seconds; Slurm's warning comes up to 60 s early, and then nothing would ever be done

# Of what `sbatch --test-only` says; "Requested node configuration is not available" is not among them: it is
# said of nodes that are merely drained, too.
_FINAL = re.compile(r"Invalid (account|qos|generic resource|feature|partition|wckey|job constraint)", re.I)


@dataclass(frozen=True)
class NodeGroup:
    """Alike nodes of one partition.

    Attributes:
        limit: longest job, seconds; None without limit.
        memory: MiB of each node.
    """

    partition: str
    default: bool
    limit: int | None
    nodes: int
    gres: str
    cpus: int
    memory: int


def check(tasks: Sequence[Task], profile: SlurmProfile) -> None:
    """Raise :class:`UserError` for the first thing that is wrong."""
    for program in PROGRAMS:
        if shutil.which(program) is None:
            hint = "run cegppo on a login node of the cluster, or load its Slurm module"
            raise UserError(f"Slurm's program '{program}' is not on PATH", hint=hint)
    answer = slurm_client.run("sinfo", "--noheader", "--all", "--format=%P|%l|%D|%G|%c|%m")
    if not answer.ok:
        hint = "try `sinfo`; nothing was written"
        raise UserError(f"Slurm does not answer: {answer.complaint()}", hint=hint)
    groups = chosen(parse(answer.out), profile.partition)
    check_time(groups, profile)
    unlike = {task.need: task for task in tasks}
    for task in unlike.values():
        check_fit(groups, task, profile)
        _ask_sbatch(task, profile)


def parse(text: str) -> list[NodeGroup]:
    """The answer of sinfo."""
    rows = [line.split("|") for line in text.splitlines() if line.count("|") == 5]
    return [
        NodeGroup(
            row[0].rstrip("*"),
            row[0].endswith("*"),
            seconds(row[1]),
            *(_int(row[2]), row[3], _int(row[4]), _int(row[5])),
        )
        for row in rows
    ]


def _int(text: str) -> int:
    digits = re.match(r"\d+", text.strip())
    return int(digits[0]) if digits else 0


def seconds(text: str) -> int | None:
    """``D-HH:MM:SS``, ``HH:MM:SS`` or ``MM:SS`` in seconds; None for ``infinite`` and the like."""
    found = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", text.strip())
    if not found:
        return None
    days, hours, minutes, rest = (int(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + rest


def chosen(groups: Sequence[NodeGroup], partition: str | None) -> list[NodeGroup]:
    """The nodes of the profile's partitions, or of the default one; [] when the cluster has no default.

    Raises:
        UserError: no such partition.
    """
    if partition is None:
        return [group for group in groups if group.default]
    known = {group.partition for group in groups}
    for name in partition.split(","):
        if name not in known:
            hint = did_you_mean(name, known)
            raise UserError(f"Slurm has no partition '{name}'", key="partition", hint=hint)
    return [group for group in groups if group.partition in partition.split(",")]


def check_time(groups: Sequence[NodeGroup], profile: SlurmProfile) -> None:
    """Refuse a time limit that no partition allows (such jobs wait for ever), or that leaves no time to work.

    Raises:
        UserError: see above.
    """
    wanted = seconds(profile.time_limit) if profile.time_limit else None
    if wanted is None:
        return
    if wanted < SHORTEST:
        hint = f"at least 5 minutes: an orderly end begins {WARNING_SECONDS} s before the limit"
        raise UserError(f"a time limit of {profile.time_limit} is too short", key="time_limit", hint=hint)
    if groups and all(group.limit is not None and group.limit < wanted for group in groups):
        longest = max(group.limit or 0 for group in groups)
        hint = f"write at most {longest // 3600}:{longest // 60 % 60:02}:{longest % 60:02}; cells resume"
        where = ", ".join(sorted({group.partition for group in groups}))
        message = f"{profile.time_limit} is beyond the limit of partition {where}"
        raise UserError(message, key="time_limit", hint=hint)


def check_fit(groups: Sequence[NodeGroup], task: Task, profile: SlurmProfile) -> None:
    """Refuse a cell that no set of nodes of one partition can ever hold.

    Raises:
        UserError: says what is missing.
    """
    if not groups:
        return
    names = sorted({group.partition for group in groups})
    fitting = dict.fromkeys(names, 0)
    for group in groups:
        fitting[group.partition] += group.nodes if _holds(group, task, profile) else 0
    if max(fitting.values()) >= task.need.nodes:
        return
    wants = f"{task.need.nodes} node(s) with {', '.join(_wants(task, profile)) or 'nothing special'}"
    message = f"{task.cell.slug} needs {wants}; partition {', '.join(names)} has {max(fitting.values())} such"
    hint = "choose another partition or a smaller scale; `sinfo -N -o '%n %G %c %m'` shows the nodes"
    raise UserError(message, key="partition", hint=hint)


def _holds(group: NodeGroup, task: Task, profile: SlurmProfile) -> bool:
    gpus = task.need.gpus_per_node
    cpus = (profile.cpus_per_gpu or 0) * gpus
    enough_gpus = not _asks_gpus(task, profile) or gpus_of(group.gres, profile.gres_name or "") >= gpus
    return enough_gpus and group.cpus >= cpus and group.memory >= mebibytes(profile.memory)


def _wants(task: Task, profile: SlurmProfile) -> list[str]:
    gpus = task.need.gpus_per_node
    return [
        *([f"{gpus} {profile.gres_name}"] if _asks_gpus(task, profile) else []),
        *([f"{profile.cpus_per_gpu * gpus} CPUs"] if profile.cpus_per_gpu else []),
        *([f"{profile.memory} memory"] if mebibytes(profile.memory) else []),
    ]


def _asks_gpus(task: Task, profile: SlurmProfile) -> bool:
    return task.need.platform == "cuda" and profile.gres_name is not None


def gpus_of(gres: str, name: str) -> int:
    """How many ``name`` ("gpu", or "gpu:h100") a node has by sinfo's ``%G``, e.g. ``gpu:h100:8(S:0-1)``."""
    wanted, total = name.split(":"), 0
    for item in re.sub(r"\([^)]*\)", "", gres).split(","):
        parts = item.split(":")
        if parts[: len(wanted)] == wanted:
            total += int(parts[-1]) if len(parts) > 1 and parts[-1].isdigit() else 1
    return total


def mebibytes(memory: str | None) -> int:
    """sbatch's ``--mem`` in MiB; 0 where nothing is asked."""
    if not memory:
        return 0
    units = {"K": 1 / 1024, "M": 1, "G": 1024, "T": 1024**2}
    return int(int(memory.rstrip("KMGT")) * units.get(memory[-1], 1))


def _ask_sbatch(task: Task, profile: SlurmProfile) -> None:
    """Account, QOS and constraint are known to sbatch alone; with --test-only it submits nothing."""
    script = re.sub(r"^#SBATCH --(chdir|output)=.*\n", "", render(task, profile), flags=re.MULTILINE)
    answer = slurm_client.run("sbatch", "--test-only", stdin=script)
    found = _FINAL.search(answer.err) if answer.code not in (0, None) else None
    if found:
        line = next(line for line in answer.err.splitlines() if found[0] in line)
        hint = "check the cluster profile; `sacctmgr show assoc user=$USER` lists your accounts"
        raise UserError(f"sbatch refuses such a job: {line.strip()}", hint=hint)
