"""`torchgate iis`: write and examine the configuration of IIS, on any system."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path, PureWindowsPath

import msgspec

from torchgate.config import Configuration, TorchgateSettings, read_configuration
from torchgate.contract.bounded_files import read_bounded
from torchgate.contract.findings import Finding
from torchgate.contract.programs import Programs
from torchgate.contract.whole_files import write_whole
from torchgate.iis.config_schema import Sections, read_schemas
from torchgate.iis.conversion import read_wfastcgi
from torchgate.iis.facts import ServerFacts
from torchgate.iis.host_config import host_config
from torchgate.iis.install import Installer, InstallFailed, Journal, command_line, steps
from torchgate.iis.lint import lint
from torchgate.iis.lint_question import Site
from torchgate.iis.plan import HANDLER, Plan, plan_mistakes
from torchgate.iis.web_config import web_config
from torchgate.iis.xml_document import MAX_BYTES, Element, XmlMistake, read_xml
from torchgate.terminal import WrongUse, fail, note, say

WEB_CONFIG = "web.config"
HOST_PART = "applicationHost.part.config"
_APPCMD_TIMEOUT_S = 60.0
_NO_PROJECT = "no project was named, so that limits are compared with Torchgate's own defaults."


def render(parsed: argparse.Namespace) -> int:
    """Write web.config, and what belongs into applicationHost.config; never over a file that is not ours."""
    configuration = _configuration(parsed)
    if configuration is None or configuration.settings is None:
        return 1
    plan = _plan(parsed, configuration, configuration.settings)
    if mistakes := list(plan_mistakes(plan)):
        return fail("nothing was written: " + " ".join(mistakes))
    texts = {WEB_CONFIG: web_config(plan), HOST_PART: host_config(plan)}
    out: Path = parsed.out
    try:
        if foreign := [name for name in texts if _is_foreign(out / name)]:
            return fail(
                f"nothing was written: {', '.join(foreign)} in {out} was not written by this command. "
                "Name another folder by --out, or move it away."
            )
        out.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            write_whole(out / name, text.replace("\n", "\r\n").encode("utf-8"))
            say(f"wrote {out / name}")
    except OSError as error:
        return fail(f"{out} can't be written: {error.strerror or error}.")
    if sys.platform != "win32" and not (parsed.python and parsed.project_path):
        note("its paths are this machine's: name the server's by --python and --project-path before it goes there.")
    note(
        f"web.config belongs into {plan.folder}; the other file is for applicationHost.config. Not seen on Windows yet."
    )
    return 0


def lint_files(parsed: argparse.Namespace) -> int:
    """Report what hurts; 1 where there is an error.

    Raises:
        WrongUse: a site without the server's configuration that has it, or an application without its site.
    """
    if parsed.site and parsed.application_host is None:
        raise WrongUse("--site is one of applicationHost.config: name that, or a copy of it, by --application-host.")
    if parsed.application != "/" and not parsed.site:
        raise WrongUse("--application is one of a site: name that by --site.")
    facts = None
    if parsed.config is not None:
        configuration = _configuration(parsed)
        if configuration is None or configuration.settings is None:
            return 1
        facts = facts_of(configuration.settings)
    try:
        schemas = _schemas(parsed.schemas)
    except (OSError, XmlMistake) as error:
        return fail(f"the schemas can't be read: {error}.")
    web = _web_config_of(parsed.web_config)
    site = Site(parsed.site, parsed.application) if parsed.site else None
    findings = lint(web, parsed.application_host, site=site, facts=facts, schemas=schemas)
    if facts is None:
        findings += (Finding("info", _NO_PROJECT, file=str(web), remedy="Name it by --config."),)
    _print(findings, parsed)
    return 1 if any(one.severity == "error" for one in findings) else 0


def convert(parsed: argparse.Namespace) -> int:
    """Say what an application behind wfastcgi becomes here."""
    file = _web_config_of(parsed.web_config)
    try:
        found = read_wfastcgi(read_xml(file))
    except OSError as error:
        return fail(f"{file} can't be read: {error.strerror or error}. Name a web.config, or the folder where it is.")
    except ValueError as error:
        return fail(f"{file}: {error}.")
    say(f"Python: {found.python}")
    say(f"handler: {found.handler or 'none named'}")
    for folder in found.python_path:
        say(f"PYTHONPATH: {folder}")
    for sentence in found.notes:
        say(f"  {sentence}")
    own = f" --gate --wsgi-handler {found.handler}" if found.handler not in {"", HANDLER} else ""
    say(f'\nThen: torchgate iis render --config PROJECT --python "{found.python}"{own}')
    return 0


def install(parsed: argparse.Namespace) -> int:
    """Make a plan's changes in this server's IIS, or print the commands for them."""
    configuration = _configuration(parsed)
    if configuration is None or configuration.settings is None:
        return 1
    plan = _plan(parsed, configuration, configuration.settings)
    if mistakes := list(plan_mistakes(plan)):
        return fail("nothing was changed: " + " ".join(mistakes))
    installer = _installer(parsed, configuration.settings)
    try:
        if parsed.dry_run:
            for step, was in installer.missing(steps(plan)):
                say(command_line(_appcmd(parsed), step.apply(was)))
            return 0
        for line in installer.install(steps(plan)):
            say(line)
    except (InstallFailed, XmlMistake, OSError) as error:
        return fail(f"{error}")
    say(f"Installed. web.config belongs into {plan.folder}; `torchgate iis render` writes it. Not seen on Windows yet.")
    return 0


def uninstall(parsed: argparse.Namespace) -> int:
    """Take back what `install` has changed."""
    configuration = _configuration(parsed)
    if configuration is None or configuration.settings is None:
        return 1
    try:
        for line in _installer(parsed, configuration.settings).uninstall():
            say(line)
    except (InstallFailed, XmlMistake, OSError) as error:
        return fail(f"{error}")
    return 0


def _installer(parsed: argparse.Namespace, settings: TorchgateSettings) -> Installer:
    programs = _programs()
    return Installer(
        lambda: _application_host(parsed.application_host or _inetsrv() / "config" / "applicationHost.config"),
        lambda arguments: programs.run([_appcmd(parsed), *arguments], _APPCMD_TIMEOUT_S),
        Journal(settings.state.folder / "iis-install.json"),
    )


def _application_host(file: Path) -> Element:
    """The server's configuration.

    Raises:
        InstallFailed: it can't be read.
    """
    try:
        return read_xml(file)
    except FileNotFoundError:
        raise InstallFailed(
            f"{file} is not there: IIS is not installed on this machine. Install it, or name a copy of that server's "
            "applicationHost.config by --application-host."
        ) from None
    except XmlMistake as mistake:
        raise InstallFailed(f"{file}: {mistake}.") from None
    except OSError as error:
        raise InstallFailed(f"{file} can't be read: {error.strerror or error}. Run this as an administrator.") from None


def _web_config_of(path: Path) -> Path:
    return path / WEB_CONFIG if os.path.isdir(path) else path  # noqa: PTH112 - never raises


def _programs() -> Programs:
    # Imported here: each room has its calls on its own system alone.
    if sys.platform == "win32":
        from torchgate.windows.programs import WindowsPrograms

        return WindowsPrograms()
    from torchgate.posix.programs import PosixPrograms

    return PosixPrograms()


def facts_of(settings: TorchgateSettings) -> ServerFacts:
    """What IIS must agree with."""
    identity, gate = settings.identity, settings.gate
    windows = identity.windows
    return ServerFacts(
        front_door=gate.front_door,
        takes_windows=windows.enabled,
        windows_paths=windows.marked_paths,
        takes_bearer=bool(identity.oidc or identity.api_keys or identity.api_keys_file.is_file()),
        certificate_paths=identity.certificate_paths if identity.certificates else (),
        max_body_bytes=gate.max_body_bytes,
        max_timeout_s=gate.max_timeout_s,
        max_header_bytes=gate.max_header_bytes,
        max_connections=gate.max_connections,
        body_timeout_s=gate.body_timeout_s,
        drain_s=gate.drain_s,
        models=_model_names(settings.models.folder),
    )


def _model_names(folder: Path) -> tuple[str, ...]:
    try:
        return tuple(sorted(one.name for one in folder.iterdir() if (one / "model.toml").is_file()))
    except OSError:
        return ()


def _plan(parsed: argparse.Namespace, configuration: Configuration, settings: TorchgateSettings) -> Plan:
    project = parsed.project_path or str(configuration.file.parent)
    state = settings.state.folder
    inside = state.relative_to(configuration.file.parent) if state.is_relative_to(configuration.file.parent) else state
    caches = PureWindowsPath(project, str(inside), "cache")
    return Plan(
        msgspec.structs.replace(facts_of(settings), has_own_pool=parsed.gate),
        Site(parsed.site, parsed.application),
        parsed.pool_name,
        parsed.python or sys.executable,
        project,
        parsed.folder or str(PureWindowsPath(project, "iis")),
        "gate" if parsed.gate else "serve",
        {name: str(caches / folder) for name, folder in CACHES.items()},
        parsed.wsgi_handler or HANDLER,
        parsed.script or "",
    )


CACHES = {
    "HF_HOME": "huggingface",
    "MPLCONFIGDIR": "matplotlib",
    "NUMBA_CACHE_DIR": "numba",
    "TORCH_HOME": "torch",
    "XDG_CACHE_HOME": "other",
}
"""Where libraries write without being asked; a pool's identity may have no profile to write to (iis.md 9.18)."""


def _schemas(folder: Path | None) -> Sections | None:
    if folder is not None:
        return read_schemas(folder)
    own = _inetsrv() / "config" / "schema"
    return read_schemas(own) if sys.platform == "win32" and own.is_dir() else None


def _inetsrv() -> Path:
    return Path(os.environ.get("SYSTEMROOT", r"C:\Windows")) / "System32" / "inetsrv"


def _appcmd(parsed: argparse.Namespace) -> str:
    return str(parsed.appcmd or _inetsrv() / "appcmd.exe")


def _is_foreign(file: Path) -> bool:
    return os.path.lexists(file) and b"Written by `torchgate iis render`" not in read_bounded(file, MAX_BYTES)


def _configuration(parsed: argparse.Namespace) -> Configuration | None:
    configuration = read_configuration(parsed.project, os.environ, parsed.set)
    for finding in configuration.findings:
        note(str(finding))
    return configuration if configuration.settings is not None else None


def _print(findings: tuple[Finding, ...], parsed: argparse.Namespace) -> None:
    if parsed.json:
        say(msgspec.json.encode(findings).decode())
        return
    for finding in findings:
        say(str(finding))
    counts = {kind: sum(one.severity == kind for one in findings) for kind in ("error", "warning", "info")}
    say(", ".join(f"{count} {kind}{'s' if count != 1 and kind != 'info' else ''}" for kind, count in counts.items()))
