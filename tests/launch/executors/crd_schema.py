"""From KubeRay's published CRD to a strict JSON schema of what our manifests use.

    python tests/launch/executors/crd_schema.py ray.io_rayjobs.yaml REVISION > \
        tests/launch/executors/data/rayjob_schema.json

The CRD file is ``helm-chart/kuberay-operator/crds/ray.io_rayjobs.yaml`` of github.com/ray-project/kuberay,
25,000 lines, most of them Kubernetes' own pod. Kept is what a manifest with every option has, with all types,
patterns, enumerations and required keys; any other key is refused. Run it again when the manifests change.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

Json = dict[str, Any]

KEPT = (
    "anyOf",
    "enum",
    "maxItems",
    "maxLength",
    "maximum",
    "minItems",
    "minLength",
    "minimum",
    "oneOf",
    "pattern",
    "required",
    "type",
)
_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
# A CRD leaves its object's metadata to the API server: Kubernetes' ObjectMeta, as far as a person writes it.
OBJECT_META = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 253},
        "namespace": {"type": "string", "maxLength": 63},
        "labels": _TEXTS,
        "annotations": _TEXTS,
    },
}


class NotInSchemaError(Exception):
    """A manifest has a key that the CRD does not know."""


def prune(schema: Json, values: Sequence[Any], path: str = "") -> Json:
    """The part of ``schema`` that ``values``, all standing at ``path``, use.

    Raises:
        NotInSchemaError: a value has a key that the schema lacks.
    """
    kept: Json = {key: schema[key] for key in KEPT if key in schema}
    objects = [value for value in values if isinstance(value, dict)]
    lists = [value for value in values if isinstance(value, list)]
    if lists:
        kept["items"] = prune(schema["items"], [item for value in lists for item in value], f"{path}[]")
    if "additionalProperties" in schema:
        inner = [item for value in objects for item in value.values()]
        kept["additionalProperties"] = prune(schema["additionalProperties"], inner, f"{path}.*")
    elif objects:
        kept |= {"properties": _properties(schema, objects, path), "additionalProperties": False}
    return kept


def _properties(schema: Json, objects: Sequence[Json], path: str) -> Json:
    known = schema.get("properties", {})
    used = dict.fromkeys(key for value in objects for key in value)
    if unknown := [key for key in used if key not in known]:
        raise NotInSchemaError(f"{path or 'the top level'} has no {', '.join(unknown)}")
    return {key: prune(known[key], [o[key] for o in objects if key in o], f"{path}.{key}") for key in used}


def rayjob_schema(crd: Json, manifests: Sequence[Json], revision: str) -> Json:
    """The strict schema of what ``manifests`` use, by the CRD's version ``v1``."""
    (version,) = (v for v in crd["spec"]["versions"] if v["name"] == "v1")
    whole = version["schema"]["openAPIV3Schema"]
    whole = {**whole, "properties": {**whole["properties"], "metadata": OBJECT_META}}
    names = crd["spec"]["names"]
    pruned = prune(whole, manifests)
    pruned["required"] = ["apiVersion", "kind", "metadata", "spec"]
    pruned["properties"]["apiVersion"] = {"const": f"{crd['spec']['group']}/v1"}
    pruned["properties"]["kind"] = {"const": names["kind"]}
    notice = (
        f"Extracted by crd_schema.py from helm-chart/kuberay-operator/crds/ray.io_rayjobs.yaml of "
        f"github.com/ray-project/kuberay, {revision}. Apache License 2.0, The KubeRay Authors."
    )
    return {"$comment": notice, "$schema": "https://json-schema.org/draft/2020-12/schema", **pruned}


def main(arguments: Sequence[str]) -> int:
    """Print the schema."""
    from kuberay_cases import every_manifest

    crd_file, revision = arguments
    crd = yaml.load(Path(crd_file).read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    print(json.dumps(rayjob_schema(crd, list(every_manifest().values()), revision), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
