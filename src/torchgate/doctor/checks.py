"""All checks, in the order in which they are told."""

from __future__ import annotations

from torchgate.doctor import (
    fast_cgi_checks,
    folder_checks,
    gpu_checks,
    iis_checks,
    network_checks,
    project_checks,
    python_checks,
    system_checks,
    systemd_checks,
    torch_checks,
)
from torchgate.doctor.world import Check

CHECKS: tuple[Check, ...] = (
    Check(
        "project",
        "configuration",
        "torchgate.toml, models, policy and front door: every finding of `torchgate check`",
        project_checks.configuration,
        60.0,
        needs_settings=False,
    ),
    Check(
        "project",
        "secrets",
        "every secret of `[secrets]` is read now, as this account; values that expire soon",
        project_checks.secrets,
        60.0,
    ),
    Check(
        "project",
        "audit",
        "the folder of the audit trail: writable, closed to others, room on its disk; its key; whether it is whole",
        project_checks.audit,
        60.0,
    ),
    Check(
        "project",
        "state",
        "the state folder: writable, closed to others, room on its disk; who could replace a folder around it",
        folder_checks.state,
    ),
    Check(
        "python",
        "interpreter",
        "version, 64 bits, readable for this account; no app of the Microsoft Store, none in a user's profile",
        python_checks.interpreter,
        needs_settings=False,
    ),
    Check(
        "python",
        "virtual-environment",
        "the interpreter that pyvenv.cfg names is there and readable",
        python_checks.virtual_environment,
        needs_settings=False,
    ),
    Check(
        "python",
        "runtime",
        "Windows: the Visual C++ runtime can be loaded",
        python_checks.runtime,
        needs_settings=False,
    ),
    Check(
        "python",
        "profile",
        "Windows: the environment does not lead to the system's own profile",
        python_checks.profile,
        needs_settings=False,
    ),
    Check(
        "python",
        "temporary",
        "the folder for temporary files: writable, room on its disk",
        folder_checks.temporary,
        needs_settings=False,
    ),
    Check(
        "torch",
        "caches",
        "where torch, its compiler and Triton keep files is writable",
        folder_checks.caches,
    ),
    Check(
        "torch",
        "torch",
        "torch is imported with a worker's environment and computes on each device; build, architectures, driver and "
        "devices against what models want, and against `torchgate.lock` where there is one",
        torch_checks.torch,
        torch_checks.LIMIT_S,
    ),
    Check(
        "torch",
        "driver",
        "`nvidia-smi`: driver, devices, memory, compute mode; Windows: WDDM and its time limit (TDR)",
        gpu_checks.driver,
        30.0,
    ),
    Check(
        "system",
        "limits",
        "memory that is left; Linux: open files and locked memory; Windows: what may still be committed",
        system_checks.limits,
        needs_settings=False,
    ),
    Check(
        "system",
        "control-groups",
        "Linux: workers get control groups with memory, pids and cpu",
        system_checks.control_groups,
    ),
    Check(
        "system",
        "systemd",
        "units of systemd that start this project: account, state folder, credentials, memory, what hides GPUs, time "
        "to stop, control groups",
        systemd_checks.units,
    ),
    Check(
        "system",
        "job",
        "Windows: at most 16 processes in our job, which IIS's modules allow",
        python_checks.job,
        needs_settings=False,
    ),
    Check(
        "network",
        "port",
        "gate.bind is free, or held by our own server, else by whom; Windows: reserved and excluded ports",
        network_checks.port,
        30.0,
    ),
    Check(
        "network",
        "issuers",
        "every issuer of tokens: reachable, usable keys, age of a file of keys; its clock against ours",
        network_checks.issuers,
        60.0,
    ),
    Check(
        "network",
        "pool",
        "the pool answers a gate of this account; models that are failed there",
        network_checks.pool,
        30.0,
    ),
    Check(
        "iis",
        "web.config",
        "every finding of `torchgate iis lint` in the project's web.config and in applicationHost.config",
        iis_checks.web_config,
    ),
    Check(
        "iis",
        "module",
        "the module that gate.front_door needs: its DLL, version and schema",
        iis_checks.module,
    ),
    Check(
        "iis",
        "fastcgi",
        "wfastcgi: its Python and script, handler, project, log, limits of its process, and what IIS ends it for",
        fast_cgi_checks.fast_cgi,
    ),
    Check(
        "iis",
        "request-heads",
        "how long a request's head http.sys takes",
        iis_checks.request_heads,
    ),
    Check(
        "iis",
        "events",
        "event log of 7 days: IIS's modules and process manager, crashes of Python, resets of graphics, lack of memory",
        iis_checks.events,
        30.0,
        needs_settings=False,
    ),
)
