"""The parts of cluster profiles: texts with a form of their own, volumes, paths, secrets, tolerations."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from cegppo_verl.experiment.validation import Strict, reject


def _form(pattern: str, what: str, fix: str) -> AfterValidator:
    # A bare pattern would be reported as "not a usable name", which is not what is wrong with a time.
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise reject("", f"{value!r} is not {what}", fix)
        return value

    return AfterValidator(check)


SingleLine = Annotated[str, _form(r"[^\r\n\0]+", "one line of text", "write it on one line, not empty")]
EnvironmentName = Annotated[
    str,
    _form(
        r"[A-Za-z_][A-Za-z0-9_]*", "the name of a variable", "use letters, digits and '_', no digit in front"
    ),
]
EnvironmentValue = Annotated[
    str, _form(r"[^\0]*", "a value that a variable can have", "take out the zero byte")
]
Quantity = Annotated[
    str,
    _form(
        r"[1-9][0-9]*(?:Ki|[MGTP]i?|k)?",
        "an amount that Kubernetes knows",
        "write e.g. 512Gi (a whole number)",
    ),
]
SlurmTime = Annotated[
    str, _form(r"(?:\d+-)?\d+:[0-5]\d:[0-5]\d", "a time", "write H:MM:SS or D-HH:MM:SS, e.g. 24:00:00")
]
SlurmMemory = Annotated[
    str, _form(r"\d+[KMGT]?", "an amount that sbatch knows", "write e.g. 512G, or '0' for all of a node's")
]
SbatchOption = Annotated[
    str,
    _form(
        r"--?[A-Za-z][^\r\n\0]*",
        "an sbatch option",
        "write the option alone, e.g. --exclusive, without #SBATCH",
    ),
]
Url = Annotated[str, _form(r"https?://[^\s/]+/?", "an address", "write e.g. http://head-node:8265")]
AbsolutePath = Annotated[
    str,
    _form(
        r"(?:/(?!\.{1,2}(?:/|$))[^/\r\n\0]+)+|/",
        "an absolute path",
        "write it from the root, without '..' and without '/' at the end, e.g. /data",
    ),
]
_LABEL = "lower-case letters, digits and '-', a letter or digit at both ends"
Label = Annotated[
    str, _form(r"(?=.{1,63}$)[a-z0-9](?:[-a-z0-9]*[a-z0-9])?", "a name in Kubernetes", f"use {_LABEL}")
]
Subdomain = Annotated[
    str,
    _form(
        r"(?=.{1,253}$)[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*",
        "a name in Kubernetes",
        f"use {_LABEL}, parts joined by '.'",
    ),
]


class Volume(Strict):
    """A persistent volume claim in every pod."""

    claim: Subdomain = Field(description="name of the persistent volume claim")
    mount: AbsolutePath = Field(description="where it is mounted in the pods")
    sub_path: SingleLine | None = Field(default=None, description="a folder inside it; null: all of it")
    read_only: bool = Field(default=False, description="mount it for reading only")


class PathPair(Strict):
    """One folder under two names."""

    here: AbsolutePath = Field(description="the folder on the runner's machine")
    there: AbsolutePath = Field(description="the same folder inside the pods")


class Secret(Strict):
    """Where a secret value lies."""

    secret: Subdomain = Field(description="name of the Kubernetes secret")
    key: SingleLine = Field(description="key inside it")


class Toleration(Strict):
    """A taint that the pods put up with."""

    key: SingleLine | None = Field(default=None, description="the taint's key; null with Exists: every taint")
    operator: Literal["Equal", "Exists"] = Field(default="Equal", description="how the taint is compared")
    value: str | None = Field(default=None, description="the taint's value, for Equal")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="the taint's effect; null: all effects"
    )

    @model_validator(mode="after")
    def _whole(self) -> Toleration:
        if self.operator == "Exists" and self.value is not None:
            raise reject("value", "Exists compares no value", "leave the value out, or write operator: Equal")
        if self.operator == "Equal" and self.key is None:
            raise reject("key", "Equal needs the taint's key", "write the key, or operator: Exists")
        return self


def quantity_bytes(quantity: str) -> int:
    """A :data:`Quantity` of memory in bytes."""
    number = quantity.rstrip("KMGTPki")
    unit = quantity[len(number) :]
    base = 1024 if unit.endswith("i") else 1000
    return int(number) * base ** ("kMGTP".index(unit[0].replace("K", "k")) + 1 if unit else 0)
