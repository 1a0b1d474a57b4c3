"""The commands as a shell sees them: exit codes, what is printed where, and how little is loaded."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

import torchgate
from torchgate.cli import main

HEAVY = "import sys; print(sorted({name.split('.')[0] for name in sys.modules}), file=sys.stderr)"


def run(
    *arguments: str | Path,
    environment: Mapping[str, str] | None = None,
    launcher: tuple[str, ...] = ("-m", "torchgate"),
    stdin: str = "",
) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TORCHGATE_")}
    return subprocess.run(
        [sys.executable, "-X", "utf8", *launcher, *map(str, arguments)],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        env={**inherited, **(environment or {})},
        input=stdin,
        check=False,
        timeout=400,
    )


def call(*arguments: str | Path, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """The same inside this process, where what is tested needs no process of its own; that is far quicker."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TORCHGATE_")}
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(io.StringIO()) as stdout,
        contextlib.redirect_stderr(io.StringIO()) as stderr,
    ):
        patch.setattr(os, "environ", {**kept, **(environment or {})})
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as exit_:
            code = exit_.code if isinstance(exit_.code, int) else 1
    return subprocess.CompletedProcess(arguments, code, stdout.getvalue(), stderr.getvalue())


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `init` writes."""
    folder = tmp_path_factory.mktemp("made") / "Mein Projekt ä"
    made = call("init", folder)
    assert made.returncode == 0, made.stderr
    assert "torchgate serve" in made.stdout
    assert '"x=[1,2,3]"' in made.stdout, "PowerShell would make three arguments of it, and zsh a pattern"
    return folder


def test_the_version_is_printed_and_little_is_loaded():
    """`torchgate --version` answers at once."""
    code = f"import sys\ntry:\n    from torchgate.cli import main; main(['--version'])\nfinally:\n    {HEAVY}"
    result = run(launcher=("-c", code))
    assert result.stdout.strip() == f"torchgate {torchgate.__version__}"
    loaded = result.stderr
    assert "'torchgate'" in loaded
    assert not any(f"'{name}'" in loaded for name in ("numpy", "pydantic", "torch", "uvicorn", "cryptography"))


def test_importing_torchgate_and_its_server_loads_no_torch():
    """Every process but a worker stays small."""
    result = run(
        launcher=(
            "-c",
            f"import torchgate.app, torchgate.gate_app, torchgate.examination\n{HEAVY}",
        )
    )
    assert result.returncode == 0, result.stderr
    assert "'torchgate'" in result.stderr
    assert "'torch'" not in result.stderr


@pytest.mark.parametrize(
    "command",
    [
        (), ("init",), ("serve",), ("check",), ("predict",), ("models",), ("models", "list"), ("models", "status"),
        ("policy",), ("policy", "explain"), ("audit",), ("audit", "tail"), ("audit", "verify"), ("keys", "new"),
        ("keys", "list"), ("keys", "revoke"),
    ],
)  # fmt: skip
def test_every_command_has_help(command: tuple[str, ...]):
    result = call(*command, "--help")
    assert result.returncode == 0
    assert "usage: torchgate" in result.stdout
    assert "xit codes" in result.stdout or command in {("models",), ("policy",), ("audit",)}


@pytest.mark.parametrize("command", [(), ("srve",), ("models",), ("predict",), ("check", "--nonsense")])
def test_a_wrong_command_line_is_2(command: tuple[str, ...]):
    result = call(*command)
    assert result.returncode == 2
    assert "usage:" in result.stderr


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("check", "--set", "x"), "has no '='"),
        (("check", "--set", "gate.drane_s=1"), "Did you mean 'gate.drain_s'?"),
        (("check", "--set", "gate.drain_s=soon"), "gate.drain_s"),
        (("serve", "--set", "gate.drain_s=soon"), "gate.drain_s"),
        (("pool", "--set", "gate.drain_s=soon"), "gate.drain_s"),
        (("gate", "--set", "gate.drain_s=soon"), "gate.drain_s"),
        (("check", "--config", ""), "is empty"),
        (("check", ""), "is empty"),
        (("check", "--config", "a", "--config", "b"), "--config: is given twice"),
        (("doctor", "--area", "gpus"), "there is no area 'gpus'; there are"),
        (("pin", "--files"), "say --verify with it"),
        (("pin", "--timeout-s", "3601"), "at most 3600"),
        (("audit", "tail", "-n", "-5"), "'-5' is no whole number from 0 on"),
        (("audit", "verify", "here", "--folder", "there"), "two trails"),
        (("models", "status", "--timeout-s", "inf"), "'inf' is no number of seconds above 0"),
        (("models", "status", "--token", ""), "--token: is empty"),
        (("models", "status", "--key", "a\nb"), "--key: is empty, or holds line ends"),
        (("models", "status", "--url", "gopher://x"), "is not a URL"),
        (("models", "status", "--certificate-key", "x.pem"), "name that by --certificate"),
        (("models", "verify", "models/doubler"), "'models/doubler' is a path; `torchgate models list` says"),
        (("models", "load", ".\\models\\doubler"), "is a path"),
        (("models", "sign", "/srv/models/doubler", "--key", "k"), "is a path"),
        (("predict", "./doubler", "x=1"), "is a path"),
        (("models", "tune", "m", "--seconds", "0"), "'0' is no number of seconds"),
        (("iis", "lint", "x", "--site", "shop"), "by --application-host"),
        (("iis", "lint", "x", "--application", "/shop"), "by --site"),
        (("predict", "m", "x"), "is not NAME=VALUE"),
        (("predict", "m", "x=1", "x=2"), "is given twice"),
        (("service", "install", "--name", "two words"), "letters, digits and hyphens"),
        (("service", "stop", "--timeout-s", "-1"), "'-1' is no number of seconds"),
    ],
)
def test_what_no_project_could_make_right_is_2(command: tuple[str, ...], said: str):
    """Told without looking at a project, and nothing is done."""
    result = call(*command)
    assert (result.returncode, result.stdout) == (2, "")
    assert said in result.stderr


@pytest.mark.parametrize(
    "command",
    [
        ("serve",), ("pool",), ("gate",), ("check",), ("doctor",), ("pin",), ("models", "list"), ("models", "status"),
        ("audit", "tail"), ("audit", "verify"), ("keys", "list"), ("secrets", "status"), ("policy", "status"),
        ("policy", "reload"), ("service", "install"),
    ],
)  # fmt: skip
def test_two_projects_on_one_command_line_are_refused(command: tuple[str, ...], tmp_path: Path):
    result = call(*command, tmp_path / "shop", "--config", tmp_path / "p")
    assert (result.returncode, result.stdout) == (2, "")
    assert f"two projects are named, {tmp_path / 'shop'} and by --config {tmp_path / 'p'}" in result.stderr


def test_of_one_setting_the_last_value_counts(project: Path):
    """Whoever wraps a command can set again what the wrapper sets."""
    result = call("check", project, "--explain", "--set", "gate.drain_s=1", "--set", "gate.drain_s=2")
    assert "gate.drain_s = 2.0    from --set gate.drain_s" in result.stdout


def test_one_project_may_be_named_in_two_ways(project: Path):
    assert call("check", project, "--config", project / "torchgate.toml").returncode == 0


def test_init_refuses_a_folder_that_is_not_empty(tmp_path: Path):
    (tmp_path / "thesis.txt").write_text("x", encoding="utf-8")
    result = call("init", tmp_path)
    assert result.returncode == 1
    assert "not empty" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_init_writes_a_project_that_passes_check(project: Path):
    """And .gitignore keeps what the server writes out of the repository."""
    result = call("check", project)
    assert result.returncode == 0, result.stdout
    assert "0 errors" in result.stdout
    assert "development identities are enabled" in result.stdout
    assert "info: " not in result.stdout, "nothing is said of what nobody chose"
    assert ".torchgate/" in (project / ".gitignore").read_text(encoding="utf-8")
    assert (project / "models" / "doubler" / "1" / "model.py").is_file()


def test_check_reports_every_mistake_with_file_and_line(project: Path, tmp_path: Path):
    file = tmp_path / "torchgate.toml"
    file.write_text('[gate]\nbnid = "x"\n[polcy]\n[audit]\nsync_interval_s = 7\n', encoding="utf-8")
    result = call("check", "--config", file)
    assert result.returncode == 1
    for line, name in ((2, "gate.bnid"), (3, "polcy"), (5, "audit.sync_interval_s")):
        assert f"{file}:{line}: error: {name}" in result.stdout
    assert "Did you mean 'policy'?" in result.stdout
    assert "3 errors" in result.stdout


def test_check_speaks_to_programs(tmp_path: Path):
    (tmp_path / "torchgate.toml").write_text("[gate]\nbnid = 1\n", encoding="utf-8")
    result = call("check", tmp_path, "--json")
    assert result.returncode == 1
    answer = json.loads(result.stdout)
    assert answer["passed"] is False
    assert answer["findings"][0]["setting"] == "gate.bnid"
    assert answer["findings"][0]["line"] == 2


def test_check_locates_what_the_rooms_find(project: Path, tmp_path: Path):
    """A grant for a role that is nowhere, and a model that lacks its signature."""
    file = tmp_path / "torchgate.toml"
    file.write_text(
        '[[policy.grants]]\nroles = ["analist"]\nmodels = ["*"]\nactions = ["infer"]\n[roles]\nanalyst = []\n',
        encoding="utf-8",
    )
    model = tmp_path / "models" / "broken"
    (model / "1").mkdir(parents=True)
    (model / "model.toml").write_text('format = "clas"\n', encoding="utf-8")
    result = call("check", tmp_path)
    assert result.returncode == 1
    assert f"{file}:2: error: policy.grants.0.roles" in result.stdout
    assert "Did you mean 'analyst'?" in result.stdout
    assert f"{model / 'model.toml'}" in result.stdout


@pytest.mark.linux("control groups are Linux's")
@pytest.mark.parametrize("command", ["check", "serve", "pool"])
def test_a_control_group_that_is_none_keeps_the_server_from_starting_and_check_says_so(
    project: Path, tmp_path: Path, command: str
):
    """Whoever names a group relies on it; without one it would hold less than was asked for."""
    copy = shutil.copytree(project, tmp_path / "copy")
    result = call(command, copy, "--set", f"engine.control_group={tmp_path}")
    assert result.returncode == 1
    assert "no folder of a control group" in result.stdout + result.stderr
    assert "engine.control_group" in result.stdout + result.stderr


@pytest.mark.parametrize("value", ["on", "relative/path", ""])
def test_a_control_group_is_auto_or_off_or_a_whole_path(project: Path, value: str):
    result = call("check", project, "--set", f"engine.control_group={value}")
    assert result.returncode == 2
    assert "engine.control_group" in result.stderr


def test_check_explains_where_each_value_comes_from(project: Path):
    result = call(
        "check", project, "--explain", "--set", "gate.drain_s=1", environment={"TORCHGATE_AUDIT_SEGMENT_BYTES": "5000"}
    )
    lines = {line.partition(" = ")[0]: line for line in result.stdout.splitlines()}
    assert "torchgate.toml:" in lines["gate.bind"]
    assert "--set" in lines["gate.drain_s"]
    assert "TORCHGATE_AUDIT_SEGMENT_BYTES" in lines["audit.segment_bytes"]
    assert "from default" in lines["gate.backlog"]


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (("--set", "gate.bind=0.0.0.0:0"), {}),
        (("--set", "gate.bind=localhost:0"), {}),
        ((), {"ASPNETCORE_PORT": "5000"}),
        ((), {"ASPNETCORE_TOKEN": "x"}),
        ((), {"HTTP_PLATFORM_PORT": "5000"}),
        ((), {"_FCGI_X_PIPE_": "x"}),
    ],
)
def test_development_identities_refuse_to_start_where_strangers_could_come(
    project: Path, arguments: tuple[str, ...], environment: Mapping[str, str]
):
    """Behind IIS or on a public address a made-up identity is an open door."""
    for command in ("serve", "check"):
        result = call(command, project, *arguments, environment=environment)
        assert result.returncode == 1
        assert "development" in result.stdout + result.stderr
    assert not (project / ".torchgate").exists()


def test_a_server_without_an_audit_trail_does_not_start(project: Path, tmp_path: Path):
    (tmp_path / "file").write_text("x", encoding="utf-8")
    result = run(
        "serve", project, "--set", f"audit.folder={tmp_path / 'file'}", "--set", f"state.folder={tmp_path / 's'}"
    )
    assert result.returncode == 1
    assert "audit trail" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_configuration_with_mistakes_does_not_start(tmp_path: Path):
    (tmp_path / "torchgate.toml").write_text("[gate]\nbnid = 1\n", encoding="utf-8")
    result = call("serve", tmp_path)
    assert result.returncode == 1
    assert "gate.bnid" in result.stderr


def test_policy_explain_names_the_rule(project: Path):
    allowed = call("policy", "explain", "--config", project, "--principal", "analyst", "infer", "doubler")
    denied = call("policy", "explain", "--config", project, "--principal", "development:guest", "infer", "doubler")
    by_role = call("policy", "explain", "--config", project, "--roles", "analyst", "load", "doubler")
    assert "allowed by policy.grants[0]" in allowed.stdout
    assert "denied by default deny" in denied.stdout
    assert "denied by default deny" in by_role.stdout
    assert {allowed.returncode, denied.returncode, by_role.returncode} == {0}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--roles", "analist", "infer", "doubler"), "Did you mean 'analyst'?"),
        (("--principal", "nobody", "infer", "doubler"), "nobody"),
    ],
)
def test_policy_explain_refuses_what_does_not_exist(project: Path, arguments: tuple[str, ...], said: str):
    result = call("policy", "explain", "--config", project, *arguments)
    assert result.returncode == 1
    assert said in result.stderr


def test_a_new_key_is_printed_once_and_its_settings_hold_its_hash(tmp_path: Path):
    result = run("keys", "new", "ops", "--print")
    key, _, settings = result.stdout.partition("\n")
    assert key.startswith("tg_ops_")
    assert key not in settings + result.stderr
    read = tomllib.loads(settings)["identity"]["api_keys"][0]
    assert read == {"id": "ops", "sha256": hashlib.sha256(key.encode()).hexdigest()}
    assert run("keys", "new", "no spaces", "--print").returncode == 2


def test_the_project_may_stand_behind_the_options(project: Path):
    """argparse alone would forget it."""
    assert call("check", "--json", project).returncode == 0
    assert call("check", "--json", project, "another").returncode == 2


def test_models_list_needs_no_server(project: Path):
    result = call("models", "list", project)
    assert result.returncode == 0
    assert "doubler" in result.stdout
    listed = json.loads(call("models", "list", project, "--json").stdout)
    assert [(model["name"], model["version"]) for model in listed] == [("doubler", "1")]


@pytest.mark.parametrize(
    "command",
    [
        ("predict", "doubler", "--as", "analyst", "x=[1]"),
        ("predict", "doubler", "--url", "http://127.0.0.1:9", "x=[1]"),
        ("models", "status"),
        ("audit", "tail"),
        ("audit", "verify"),
    ],
)
def test_commands_without_a_server_say_so(tmp_path: Path, command: tuple[str, ...]):
    """One sentence, no traceback."""
    (tmp_path / "torchgate.toml").write_text("", encoding="utf-8")
    result = call(*command, "--config", tmp_path)
    assert result.returncode == 1
    assert result.stderr.startswith("torchgate: ")
    assert "Traceback" not in result.stderr


def test_a_token_name_is_no_path(tmp_path: Path):
    """`--as ../../x` reads no other file."""
    (tmp_path / "torchgate.toml").write_text("", encoding="utf-8")
    (tmp_path / "x.token").write_text("secret", encoding="utf-8")
    result = call("predict", "m", "--config", tmp_path, "--url", "http://127.0.0.1:9", "--as", "../../x", "x=[1]")
    assert result.returncode == 1
    assert "can't be the name" in result.stderr


def test_printing_never_fails_on_an_old_code_page(project: Path):
    """A console of Windows has cp1252, which has no `→`."""
    result = run(
        "check",
        project,
        environment={"PYTHONIOENCODING": "cp1252:strict"},
        launcher=("-X", "utf8=0", "-m", "torchgate"),
    )
    asked = ("policy", "explain", "--config", project, "--principal", "→", "infer", "doubler")
    ascii_only = {"PYTHONIOENCODING": "ascii:strict"}
    other = run(*asked, environment=ascii_only, launcher=("-X", "utf8=0", "-m", "torchgate"))
    assert result.returncode == 0
    assert other.returncode == 1
    assert "\\u2192" in other.stderr


def test_standard_streams_may_be_absent(project: Path):
    """Services have none: sys.stdin, sys.stdout and sys.stderr are None."""
    code = "import sys; sys.stdin = sys.stdout = sys.stderr = None\nfrom torchgate.cli import main\nsys.exit(main())"
    for arguments, expected in ((("check", project), 0), (("audit", "tail", project), 1), (("predict", "m"), 2)):
        result = run(*arguments, launcher=("-c", code))
        assert (result.returncode, result.stdout, result.stderr) == (expected, "", "")
