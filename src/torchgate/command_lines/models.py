"""The arguments of `torchgate models …`."""

from __future__ import annotations

from torchgate.command_lines.grammar import (
    DAY_S,
    Commands,
    command,
    later,
    model,
    of_project,
    of_server,
    path,
    seconds,
)


def declare(models: Commands) -> None:
    """The commands of models, in a project's folder and in a running server."""
    listing = command(
        models, "list", later("client_commands", "list_models"), "the models in the project's folder; needs no server"
    )
    of_project(listing)
    listing.add_argument("--json", action="store_true", help="one JSON array instead of lines for people")
    status = command(
        models,
        "status",
        later("client_commands", "models_status"),
        "models of a running server, their states, your use of quotas",
    )
    of_server(status)
    status.add_argument("--json", action="store_true", help="one JSON object instead of lines for people")
    status.add_argument("--timeout-s", type=seconds(DAY_S), default=10.0, help="seconds to wait for the answer (10)")
    _change_arguments(models)
    _signature_arguments(models)
    _tune_arguments(models)


def _change_arguments(models: Commands) -> None:
    texts = {
        "load": "have a running server serve what lies in a model's folder now",
        "reload": "the same, and what has not changed is loaded anew, too",
        "unload": "have a running server serve a model, or one version of it, no more",
    }
    for verb, text in texts.items():
        change = command(models, verb, later("client_commands", "change_model"), text)
        change.set_defaults(verb=verb)
        change.add_argument("model", type=model, metavar="MODEL", help="its name: all versions; or NAME:VERSION")
        of_server(change, has_project=False)
        change.add_argument("--json", action="store_true", help="one JSON object instead of lines for people")
        change.add_argument("--timeout-s", type=seconds(DAY_S), default=300.0, help="to wait for the end of it (300)")


def _signature_arguments(models: Commands) -> None:
    keygen = command(models, "keygen", later("sign_commands", "new_key"), "make a key that signs models")
    keygen.add_argument("file", type=path, metavar="FILE", help="where the private key goes; must not be there yet")
    signing = command(
        models,
        "sign",
        later("sign_commands", "sign_model"),
        "sign every byte of a version, so that a server loads its code",
    )
    signing.add_argument("model", type=model, metavar="MODEL", help="NAME:VERSION, or NAME for its default version")
    signing.add_argument("--key", type=path, required=True, metavar="FILE", help="the private key")
    of_project(signing, has_project=False)
    verify = command(
        models, "verify", later("sign_commands", "verify_models"), "say who vouches for each version; needs no server"
    )
    verify.add_argument("models", nargs="*", type=model, metavar="MODEL", help="NAME or NAME:VERSION (all)")
    verify.add_argument("--strict", action="store_true", help="what allow_code names must be signed, too")
    verify.add_argument("--json", action="store_true", help="one JSON array instead of lines for people")
    of_project(verify, has_project=False)


def _tune_arguments(models: Commands) -> None:
    tune = command(
        models,
        "tune",
        later("tune_commands", "tune_model"),
        "measure ways to run a version; write the fastest into model.toml",
    )
    tune.add_argument("model", type=model, metavar="MODEL", help="NAME:VERSION, or NAME for its default version")
    tune.add_argument("--seconds", type=seconds(DAY_S), default=5.0, help="of measuring, for each number of rows (5)")
    tune.add_argument("--timeout-s", type=seconds(DAY_S), default=1800.0, help="for all of it, compiling too (1800)")
    tune.add_argument("--dry-run", action="store_true", help="measure and write nothing")
    tune.add_argument("--json", action="store_true", help="one JSON object instead of lines for people")
    of_project(tune, has_project=False)
