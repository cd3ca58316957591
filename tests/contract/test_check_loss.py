"""``cegppo check-loss`` and the fixture on other people's losses: the forms, exit codes, what is printed."""

import builtins
import importlib.util
import json

import pytest
from contract.examples import CLIPPED, CUBED, CUBED_REASONS, LINEAR, ran, write
from typer.testing import CliRunner

from cegppo_verl import cli
from cegppo_verl.contract import command, exceptions, resolve, rows, runner, search, verl_form
from cegppo_verl.errors import UserError
from cegppo_verl.losses.registry import LOSSES

FLIPPED = CLIPPED.replace("return -torch.min", "return torch.min")
REQUIRED = CLIPPED.replace("mask, *, epsilon=0.2):\n    padding", "mask, *, epsilon):\n    padding")
VERL = """
def mine(old_log_prob, log_prob, advantages, response_mask, loss_agg_mode="token-mean", config=None,
         rollout_is_weights=None):
    low, high = 1 - config.clip_ratio_low, 1 + config.clip_ratio_high
    beta = config.policy_loss.get("beta", 1.0)
    w = (log_prob - old_log_prob).detach().exp().clamp(low, beta * high)
    each = -w * advantages * log_prob * response_mask
    return each.sum() / config.global_batch_info["batch_num_tokens"] * config.global_batch_info["dp_size"], {}
"""
OBJECT = """
from dataclasses import dataclass
from cegppo_verl.losses.loss import Loss
from cegppo_verl.losses.parameters import Parameters, param

@dataclass(frozen=True, kw_only=True)
class Params(Parameters):
    cap: float = param("c", "largest weight", low=1.0, example=2.0, source="ours")

LOSS = Loss(params=Params, weight=lambda t, p: t.ratio.clamp(max=p.cap), title="Capped", summary="", paper="",
            equation="", positive="min(δ, c)", negative="min(δ, c)")

def literal(log_prob, old_log_prob, advantages, mask, *, cap):
    ratio = (log_prob - old_log_prob).exp()
    return ratio.clamp(max=cap).detach() / ratio.detach() * ratio * advantages
"""


@pytest.fixture(autouse=True)
def _quick(monkeypatch, tmp_path):
    monkeypatch.setattr(search, "EXAMPLES", 15)
    monkeypatch.setattr(cli.console, "_width", 120)
    monkeypatch.chdir(tmp_path)


def refused(*words):
    with pytest.raises(UserError) as error:
        ran_raising(*words)
    return str(error.value)


def ran_raising(*words):
    return CliRunner().invoke(cli.app, ["check-loss", *words], catch_exceptions=False)


# --- the three forms


def test_a_per_token_function(tmp_path):
    done = ran(write(tmp_path, CLIPPED))
    assert done.exit_code == 0, done.output
    assert "mine.py: per-token function" in done.output
    assert "parameters: epsilon=0.2" in done.output
    assert "printed surrogate: mine.py:literal" in done.output
    assert "0 FAILED" in done.output


def test_a_failure_is_shown_with_its_smallest_input_and_exit_code_1(tmp_path):
    done = ran(write(tmp_path, FLIPPED))
    assert done.exit_code == 1
    assert "FAILED on-policy" in done.output
    assert "    log_ratio    = [[0.0]]" in done.output
    assert "    params       = {'epsilon': 0.2}" in done.output


@pytest.mark.parametrize("installed", [True, False], ids=["verl's configuration", "stand-in"])
def test_a_function_of_verls_form(tmp_path, monkeypatch, installed):
    if not installed:
        without(monkeypatch, "verl")
    done = ran(f"{write(tmp_path, VERL)}:mine", "--param", "beta=2", "--param", "clip_ratio_high=0.4")
    assert "function with verl's policy-loss signature" in done.output
    assert "parameters: beta=2, clip_ratio_high=0.4" in done.output
    failed = {line.split(":")[0] for line in done.output.splitlines() if line.startswith("FAILED ")}
    assert {"FAILED loss_agg_mode", "FAILED rollout weights"} <= failed  # it ignores both
    assert (
        not {"FAILED micro-batches", "FAILED data-parallel ranks", "FAILED padding", "FAILED on-policy"}
        & failed
    )


def test_a_loss_object_of_a_file(tmp_path):
    done = ran(write(tmp_path, OBJECT), "--param", "cap=3")
    assert done.exit_code == 0, done.output
    assert "Loss object (gradient weight)" in done.output
    assert "gradient as printed      passed" in done.output


def test_a_function_of_a_module():
    tested = resolve.subject("verl.trainer.ppo.core_algos:compute_policy_loss_vanilla")
    assert isinstance(tested, verl_form.VerlFunction)


def test_reduction_per_micro_batch_is_said_not_hidden():
    done = ran("cegppo_released", "--param", "beta1=0.5", "--param", "beta2=1")
    row = next(line for line in done.output.splitlines() if line.strip().startswith("micro-batches"))
    assert "not applicable" in row
    assert "reduction is per micro-batch" in row


# --- for scripts, and for the index of the losses


def refuse(constant):
    raise AssertionError(f"{constant} is not JSON")


def test_json_says_what_the_table_says(tmp_path):
    done = ran(write(tmp_path, FLIPPED), "--json", "--out", "deep/found.json")
    assert done.exit_code == 1, "a failure stays one"
    printed = json.loads(done.stdout, parse_constant=refuse)
    assert printed == json.loads((tmp_path / "deep" / "found.json").read_text(), parse_constant=refuse)
    assert printed["command"] == "cegppo check-loss mine.py"
    found = printed["losses"]["mine.py"]
    assert list(found["checks"]) == list(runner.CHECKS)
    assert (found["passed"], found["settings"], found["version"]) == (False, [{"epsilon": 0.2}], None)
    assert found["checks"]["on-policy"]["status"] == "FAILED"
    assert "log_ratio    = [[0.0]]" in found["checks"]["on-policy"]["example"]
    assert found["checks"]["padding"]["measured"] == 0
    assert "note" in found["checks"]["worked by hand"]


def test_a_number_that_json_does_not_have_is_a_word(tmp_path):
    ran(
        write(tmp_path, CLIPPED.replace("return -torch.min", "return torch.nan * torch.min")),
        "--out",
        "f.json",
    )
    checks = json.loads((tmp_path / "f.json").read_text(), parse_constant=refuse)["losses"]["mine.py"][
        "checks"
    ]
    assert "nan" in [check.get("measured") for check in checks.values()]


def test_all_takes_every_loss_with_the_settings_of_its_row(monkeypatch, tmp_path):
    some = ("topr", "grpo")
    monkeypatch.setattr(resolve, "LOSSES", {name: LOSSES[name] for name in some})
    done = ran("--all", "--out", "all.json")
    assert done.exit_code == 0, done.output
    assert [line.split(":")[0] for line in done.output.splitlines()] == list(some)
    found = json.loads((tmp_path / "all.json").read_text())
    assert found["command"] == "cegppo check-loss --all"
    assert len(found["losses"]["topr"]["settings"]) == len(rows.find("topr").parameters) > 1
    assert found["losses"]["topr"]["version"] == LOSSES["topr"].version
    excused = found["losses"]["grpo"]["checks"]["bf16"]
    assert (excused["status"], excused["note"]) == ("EXCUSED (fails)", exceptions.VERL["vanilla"]["bf16"])


def test_without_a_checkout_required_parameters_are_the_examples(monkeypatch):
    monkeypatch.setattr(rows, "find", lambda name: None)
    by_name = {subject.name: subject.settings for subject in resolve.everything()}
    assert list(by_name) == list(LOSSES)
    assert [(s["beta1"], s["beta2"]) for s in by_name["cegppo"]] == [(0.5, 1.0)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "which loss?"),
        (["--all", "cegppo"], "--all: all losses are checked"),
        (["--all", "--param", "beta1=1"], "--all: all losses are checked"),
        (["cegpo", "--out", "f.json"], "did you mean 'cegppo'?"),
        (["mine.py", "--out", "mine.py/f.json"], "cannot be written"),
    ],
)
def test_a_wrong_request_writes_nothing(tmp_path, words, message):
    write(tmp_path, CLIPPED)
    assert message in refused(*words)
    assert [path.name for path in tmp_path.iterdir() if path.name != "__pycache__"] == ["mine.py"]


# --- what is typed wrong


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["cegpo"], "did you mean 'cegppo'?"),
        (["cegppo", "--param", "beta1=0.5"], "needs beta2: no default\n  fix: add --param beta2=1.0"),
        (["cegppo", "--param", "beta_1=0.5"], "did you mean 'beta1'?"),
        (["cegppo", "--param", "beta1"], "--param takes name=value"),
        (
            ["cegppo", "--param", "beta1=.5", "--param", "beta2=1", "--param", "epsilon_low=20"],
            "write 0.2 for 20 %",
        ),
        (["minee.py"], "did you mean 'mine.py'?"),
        (["mine.py:clippd"], "did you mean 'clipped'?"),
        (["mine.py", "--param", "epsilom=0.1"], "did you mean 'epsilon'?"),
        (["required.py"], "needs epsilon: no default"),
        (["empty.py"], "no loss is in 'empty.py'"),
        (["broken.py"], "'broken.py' cannot be imported: ZeroDivisionError"),
        (["no.such.module"], "cannot be imported"),
        (["two.py"], "has several losses: one, two"),
        (["mine.py:torch"], "is a module, not a loss"),
        (["unknown.py"], "unknown.py: CONTRACT_EXCEPTIONS: no check is called 'liner in Â'"),
        (["unknown.py"], "did you mean 'linear in Â'?"),
        (["silent.py"], "'linear in Â' has no reason"),
        (["listed.py"], "CONTRACT_EXCEPTIONS: is not a dict"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_meant_is_refused(tmp_path, words, message):
    write(tmp_path, CLIPPED)
    write(tmp_path, REQUIRED, "required.py")
    write(tmp_path, "", "empty.py")
    write(tmp_path, "1 / 0", "broken.py")
    write(tmp_path, CLIPPED + LINEAR.replace("linear", "liner"), "unknown.py")
    write(tmp_path, CLIPPED + 'CONTRACT_EXCEPTIONS = {"linear in Â": " "}', "silent.py")
    write(tmp_path, CLIPPED + 'CONTRACT_EXCEPTIONS = ["linear in Â"]', "listed.py")
    write(tmp_path, "def one(old_log_prob, log_prob, advantages, mask): ...\ntwo = lambda: 0\n"
          "def two(old_log_prob, log_prob, advantages, mask): ...", "two.py")  # fmt: skip
    assert message in refused(*words)


@pytest.mark.parametrize("package", ["torch", "hypothesis"])
def test_a_missing_package_is_named(monkeypatch, package):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else object())
    with pytest.raises(UserError, match=f"needs {package}.*\n.*pip install {package}"):
        command.check_loss("cegppo", [], cli.console)


def without(monkeypatch, package):
    real = builtins.__import__

    def guarded(name, *args, **kwargs):
        if name.partition(".")[0] == package:
            raise ImportError(f"No module named '{package}'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", guarded)


# --- the configuration that a function of verl's form gets


@pytest.mark.parametrize("installed", [True, False], ids=["verl's configuration", "stand-in"])
def test_settings_go_where_losses_look_for_them(monkeypatch, installed):
    if not installed:
        without(monkeypatch, "verl")
    config = verl_form.configuration({"clip_ratio_c": 5.0, "beta": 0.5, "policy_loss.dro_beta": 0.1})
    assert config.get("clip_ratio_c", 3.0) == 5.0
    assert config.clip_ratio_low == 0.2
    assert config.policy_loss.get("beta") == 0.5
    assert config.policy_loss.dro_beta == 0.1
    assert config.policy_loss.get("nothing", 7) == 7
    assert config.global_batch_info == {}


# --- the fixture


FIXTURE = """
def test_good(loss_contract):
    assert loss_contract("mine.py", epsilon=0.3).passed

def test_bad(loss_contract):
    loss_contract("flipped.py")

def test_function(loss_contract):
    from mine import clipped
    loss_contract(clipped)

def test_excused(loss_contract):
    loss_contract("excused.py")

def test_allowed(loss_contract):
    loss_contract("excused.py", allow_exceptions=True)
"""


def test_the_fixture(pytester, monkeypatch):
    pytester.makepyfile(mine=CLIPPED, flipped=FLIPPED, excused=CUBED + CUBED_REASONS, test_it=FIXTURE)
    monkeypatch.syspath_prepend(pytester.path)
    result = pytester.runpytest_inprocess("-q", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=3, failed=2)
    result.stdout.fnmatch_lines(
        [
            "*flipped.py (per-token function)*",
            "*FAILED on-policy*",
            "*log_ratio    = *",
            "*EXCUSED (fails) linear in Â*",
        ]
    )


def test_the_plugin_imports_nothing_heavy():
    import subprocess
    import sys

    code = (
        "import sys, cegppo_verl.contract.pytest_plugin\n"
        "print({'torch', 'verl', 'hypothesis'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
