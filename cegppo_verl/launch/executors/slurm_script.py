"""The batch script of a cell: what the template is given, and rendering it."""

from __future__ import annotations

import shlex
import traceback
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import (
    ChoiceLoader,
    Environment,
    FileSystemLoader,
    PackageLoader,
    PrefixLoader,
    StrictUndefined,
    TemplateError,
    TemplateSyntaxError,
)

from cegppo_verl.errors import UserError
from cegppo_verl.launch.driver import import_path
from cegppo_verl.launch.executors.base import Task
from cegppo_verl.launch.executors.profile import SlurmProfile
from cegppo_verl.launch.jobs import LOGICAL_CPUS, platform_environment

OWN = "slurm.sh.j2"
WARNING_SECONDS = 120  # before the time limit, for an orderly end; Slurm may be 60 s early

# The template's head repeats these; a test compares the two.
VARIABLES = {
    "options": "list of sbatch options that say everything below, quoted; one #SBATCH line each",
    "name": "job name, unique per submission; sbatch is given it on its command line, too",
    "slug": "the cell, for people",
    "run_dir": "absolute path of the cell's run directory",
    "python": "interpreter on the nodes",
    "command": "list: arguments of the interpreter that execute the cell",
    "environment": "mapping: variables of the profile and of the task",
    "setup": "list of the profile's shell lines",
    "nodes": "number of nodes",
    "gpus_per_node": "GPUs, or logical ones on the CPU platform",
    "platform": "cpu or cuda",
    "ray_cpus": "logical CPUs that Ray is told of on each node; None lets it count",
    "requeue": "whether Slurm may start the job again",
    "profile": "the cluster profile, e.g. profile.partition",
}


def render(task: Task, profile: SlurmProfile) -> str:
    """The batch script of ``task``, complete.

    Raises:
        UserError: the template cannot be rendered (file and line are named), or the run directory's path
            cannot be told to Slurm.
    """
    name = Path(profile.template).name if profile.template else f"cegppo/{OWN}"
    try:
        text = _environment(profile.template).get_template(name).render(variables(task, profile))
    except (TemplateError, OSError, UnicodeError, TypeError, ValueError, ArithmeticError) as error:
        raise _template_error(error, profile.template) from error
    if not text.startswith("#!"):
        hint = "begin it with '#!/bin/bash', or with {% extends 'cegppo/slurm.sh.j2' %}"
        raise UserError("the rendered script does not begin with '#!'", file=profile.template, hint=hint)
    return text


def variables(task: Task, profile: SlurmProfile) -> dict[str, Any]:
    """What a template is given, see :data:`VARIABLES`."""
    return {
        "options": options(task, profile),
        "name": task.name,
        "slug": task.cell.slug,
        "run_dir": str(task.run.path.absolute()),
        "python": profile.python,
        "command": list(task.command),
        "environment": _exports(task, profile),
        "setup": list(profile.setup),
        "nodes": task.need.nodes,
        "gpus_per_node": task.need.gpus_per_node,
        "platform": task.need.platform,
        "ray_cpus": LOGICAL_CPUS if task.need.platform == "cpu" else None,
        "requeue": profile.requeue,
        "profile": profile,
    }


def _exports(task: Task, profile: SlurmProfile) -> dict[str, str]:
    # A Ray of several nodes starts before the node side, which tells Ray's processes all this otherwise.
    ray = platform_environment(task.cell) if task.need.nodes > 1 else {}
    return {**import_path(), **ray, **profile.environment, **task.environment}


def options(task: Task, profile: SlurmProfile) -> list[str]:
    """All of sbatch's options, quoted for sbatch, the profile's ``extra`` last: there the last one counts."""
    need = task.need
    run = str(task.run.path.absolute())
    cpus = profile.cpus_per_gpu * need.gpus_per_node if profile.cpus_per_gpu else None
    # On the CPU platform a GPU is a logical resource of Ray: real ones stay with those who need them.
    gres = (
        f"{profile.gres_name}:{need.gpus_per_node}" if need.platform == "cuda" and profile.gres_name else None
    )
    given = {
        "job-name": task.name,
        "comment": task.cell.slug,
        "chdir": run,
        "output": output_pattern(run),
        "nodes": need.nodes,
        "ntasks-per-node": 1,
        "cpus-per-task": cpus,
        "mem": profile.memory,
        "gres": gres,
        "partition": profile.partition,
        "account": profile.account,
        "qos": profile.qos,
        "time": profile.time_limit,
        "constraint": profile.constraint,
        "nice": niceness(task.priority) or None,
        # Slurm signals the script alone, which ends the node side in order. USR1 tells it that time is up,
        # TERM that somebody wants the job gone: only the first goes back into the queue.
        "signal": f"B:{'USR1' if profile.requeue else 'TERM'}@{WARNING_SECONDS}",
        "open-mode": "append",  # a job that starts again goes on in the same file
    }
    said = [f"--{key}={quoted(value)}" for key, value in given.items() if value is not None]
    return [*said, "--requeue" if profile.requeue else "--no-requeue", *profile.extra]


def niceness(priority: int) -> int:
    """sbatch's ``--nice``: larger waits longer, and below 0 is for administrators.

    So a negative priority steps back, by as much, and a positive one changes nothing at Slurm: it has decided
    the order in which the runner submits.
    """
    return max(0, -priority)


def output_pattern(run: str) -> str:
    """``RUN_DIR/slurm-%j.out`` as sbatch wants it.

    Raises:
        UserError: the path has a backslash (Slurm would write elsewhere, without a word) or a line break.
    """
    if any(bad in run for bad in "\\\n\r"):
        hint = "choose another --results"
        raise UserError(
            "Slurm cannot write below a path with a backslash or a line break", file=run, hint=hint
        )
    return run.replace("%", "%%") + "/slurm-%j.out"


def quoted(value: object) -> str:
    """``value`` for a #SBATCH line, whose quoting is not quite the shell's: nothing is expanded in it."""
    text = str(value)
    if text and all(c.isalnum() or c in "-_.,:/@%=+&|*[]()" for c in text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@cache
def _environment(template: str | None) -> Environment:
    own = PrefixLoader({"cegppo": PackageLoader(__package__, "templates")})
    folder = [FileSystemLoader(Path(template).parent)] if template else []
    environment = Environment(
        loader=ChoiceLoader([*folder, own]),
        autoescape=False,  # a shell script: the filter `quote` is its escaping
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["quote"] = lambda value: shlex.quote(str(value))
    return environment


def _template_error(error: Exception, template: str | None) -> UserError:
    message = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, TemplateSyntaxError):
        file, line = error.filename or template, error.lineno
    else:
        # Jinja puts the template's own lines into the traceback.
        frames = [
            f for f in traceback.extract_tb(error.__traceback__) if f.filename.endswith((OWN, str(template)))
        ]
        file, line = (frames[-1].filename, frames[-1].lineno or 0) if frames else (template, 0)
    place = f" (line {line})" if line else ""
    hint = f"it may use: {', '.join(VARIABLES)}"
    return UserError(f"the template cannot be rendered: {message}{place}", file=file, hint=hint)
