"""Cluster profiles: the examples teach every key, and every mistake is pointed at."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel

from cegppo_verl.errors import UserError
from cegppo_verl.experiment.yaml_file import read_yaml
from cegppo_verl.launch.executors import profile, registry
from cegppo_verl.launch.executors.profile import MODELS, default_profile, load_profile
from cegppo_verl.launch.executors.profile_fields import quantity_bytes

KUBERAY = "executor: kuberay\nimage: x\nray_version: '2.60.0'\ncpus: 8\nmemory: 64Gi\n"


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "cluster.yaml"
    file.write_text(text)
    return file


def refusal(tmp_path: Path, text: str) -> UserError:
    with pytest.raises(UserError) as caught:
        load_profile(written(tmp_path, text))
    return caught.value


@pytest.mark.parametrize("name", registry.NAMES)
def test_example_loads_and_names_every_key(name: str, tmp_path: Path) -> None:
    text = registry.example(name)
    loaded = load_profile(written(tmp_path, text))
    assert type(loaded) is MODELS[name]
    named = set(re.findall(r"^(?:# )?([a-z_]+):", text, flags=re.M))
    assert named == set(MODELS[name].model_fields)


def optional_keys(model: type[BaseModel]) -> set[str]:
    return {key for key, field in model.model_fields.items() if not field.is_required()}


@pytest.mark.parametrize("name", registry.NAMES)
def test_values_that_an_example_writes_out_are_the_defaults(name: str, tmp_path: Path) -> None:
    """So that a key may be left out or left in. What only a person can know is excepted."""
    model = MODELS[name]
    loaded = load_profile(written(tmp_path, registry.example(name)))
    of_the_place = {"volumes", "paths", "shm"} if name == "kuberay" else set()
    for key in optional_keys(model) - of_the_place:
        default = model.model_fields[key].get_default(call_default_factory=True, validated_data={})
        assert getattr(loaded, key) == default, key


@pytest.mark.parametrize("name", registry.NAMES)
def test_commented_lines_of_an_example_are_valid_when_uncommented(name: str, tmp_path: Path) -> None:
    text = registry.example(name)
    text = re.sub(r"^([a-z_]+): (?:\{\}|\[\])[^\n]*\n(?=#  )", r"\1:\n", text, flags=re.M)
    text = re.sub(r"^#  ", "  ", text, flags=re.M)
    text = re.sub(r"^    # (sub_path|read_only)", r"    \1", text, flags=re.M)
    text = re.sub(r"^# python:", "python:", text, flags=re.M)
    loaded = load_profile(written(tmp_path, text))
    assert loaded.setup
    assert loaded.environment


@pytest.mark.parametrize("name", registry.NAMES)
def test_every_key_is_described(name: str) -> None:
    assert [key for key, field in MODELS[name].model_fields.items() if not field.description] == []


def test_registry_and_models_agree() -> None:
    assert set(registry.NAMES) == set(registry._CLASSES) == set(MODELS)


@pytest.mark.parametrize("name", ["local", "ray", "slurm"])
def test_default_profile_needs_no_file(name: str) -> None:
    made = default_profile(name)
    assert (made.executor, made.python) == (name, sys.executable)


def test_default_profile_of_kuberay_says_what_is_missing() -> None:
    with pytest.raises(UserError, match=r"image.*memory(?s:.*)cegppo cluster kuberay"):
        default_profile("kuberay")


def test_unknown_executor_names_the_nearest() -> None:
    for call in (default_profile, registry.example):
        with pytest.raises(UserError, match="did you mean 'slurm'"):
            call("slrum")


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        ("max_jobs: 3\n", "executor", ["required", "kuberay"]),
        ("# a\nexecutor: slrum\n", "executor", ["line 2", "did you mean 'slurm'"]),
        ("executor: [slurm]\n", "executor", ["unknown executor"]),
        ("executor: slurm\npartitoin: gpu\n", "partitoin", ["line 2", "'partition'"]),
        ("executor: slurm\ntime_limit: 24:00\n", "time_limit", ["line 2", "H:MM:SS"]),
        ("executor: slurm\ntime_limit: 24\n", "time_limit", ["line 2", "quote it"]),
        ("executor: slurm\nextra: ['#SBATCH --exclusive']\n", "extra[0]", ["without #SBATCH"]),
        ('executor: slurm\nextra: ["--x\\nrm"]\n', "extra[0]", ["not an sbatch option"]),
        ("executor: slurm\ntemplate: gone.j2\n", "template", ["no such file", "gone.j2", "line 2"]),
        ("executor: local\nenvironment: {DEBUG: true}\n", "environment.DEBUG", ["quote it", "true"]),
        ("executor: local\nenvironment: {A B: x}\n", "environment.A B.[key]", ["name of a variable"]),
        ("executor: local\nmax_jobs: 0\n", "max_jobs", ["greater than or equal to 1"]),
        ("executor: local\nmax_jobs: 2.0\n", "max_jobs", ["whole number"]),
        ("executor: local\nsetup: module load x\n", "setup", ["must be a list"]),
        ("executor: ray\naddress: ray://head:10001\n", "address", ["http://head-node:8265"]),
        ("executor: kuberay\nimage: x\n", "ray_version", ["required", "cegppo cluster NAME"]),
        (KUBERAY + "memroy: 1Gi\n", "memroy", ["did you mean 'memory'"]),
        (KUBERAY + "shm: 64 GB\n", "shm", ["512Gi"]),
        (KUBERAY + "image_pull_policy: Alway\n", "image_pull_policy", ["did you mean 'Always'"]),
        (KUBERAY + "paths: [{here: data, there: /x}]\n", "paths[0].here", ["absolute path"]),
        (KUBERAY + "paths: [{here: /a/../b, there: /x}]\n", "paths[0].here", ["'..'"]),
        (KUBERAY + "volumes: [{claim: c, mount: /x/}]\n", "volumes[0].mount", ["'/' at the end"]),
        (KUBERAY + "volumes: [{claim: c, path: /x}]\n", "volumes[0].path", ["unknown key", "mount"]),
        (KUBERAY + "namespace: Team_A\n", "namespace", ["name in Kubernetes"]),
        (KUBERAY + "tolerations: [{effect: NoSchedul}]\n", "tolerations[0].effect", ["NoSchedule"]),
        (KUBERAY + "environment: {A: x}\nsecrets: {A: {secret: s, key: k}}\n", "secrets.A", ["environment"]),
        (KUBERAY + "shm: 65Gi\n", "shm", ["less than memory"]),
        (KUBERAY + "shm: 64K\n", "shm", ["512Gi"]),
        (KUBERAY + "volumes: [{claim: c, mount: /dev/shm}]\n", "volumes", ["mounted twice"]),
        (
            KUBERAY + "tolerations: [{key: a, operator: Exists, value: b}]\n",
            "tolerations[0].value",
            ["Equal"],
        ),
        (KUBERAY + "tolerations: [{value: b}]\n", "tolerations[0].key", ["Exists"]),
        (KUBERAY + "priority_class: high\n", "priority_class", ["queue"]),
    ],
)
def test_mistakes_are_pointed_at(tmp_path: Path, text: str, key: str, words: list[str]) -> None:
    error = refusal(tmp_path, text)
    assert error.key == key
    assert error.hint
    assert [word for word in words if word not in str(error)] == []
    assert "ablations/" not in str(error)


def test_quoted_values_stay_text(tmp_path: Path) -> None:
    text = "executor: local\nenvironment: {A: 'true', B: '1e3', C: '', D: on}\n"
    assert load_profile(written(tmp_path, text)).environment == {"A": "true", "B": "1e3", "C": "", "D": "on"}


def test_template_is_found_beside_its_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.j2").write_text("#!/bin/bash\n")
    file = written(tmp_path, "executor: slurm\ntemplate: mine.j2\n")
    monkeypatch.chdir("/")
    loaded = load_profile(file)
    assert isinstance(loaded, profile.SlurmProfile)
    assert loaded.template == str((tmp_path / "mine.j2").resolve())


@pytest.mark.parametrize(
    ("text", "count"), [("7", 7), ("2k", 2000), ("2Ki", 2048), ("3Mi", 3 * 2**20), ("5T", 5 * 10**12)]
)
def test_quantities_in_bytes(text: str, count: int) -> None:
    assert quantity_bytes(text) == count


def test_examples_are_written_as_grids_are() -> None:
    folder = Path(registry.__file__).parent / "examples"
    for file in folder.glob("*.yaml"):
        assert read_yaml(file).data["executor"] == file.stem
        assert max(map(len, file.read_text().splitlines())) <= 120
