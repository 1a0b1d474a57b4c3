"""The arguments of `torchgate predict`."""

from __future__ import annotations

import argparse

from torchgate.command_lines.grammar import DAY_S, model, of_server, seconds


def declare(predict: argparse.ArgumentParser) -> None:
    """The arguments of the one command that asks a model."""
    predict.add_argument("model", type=model, metavar="MODEL", help="its name, or NAME:VERSION")
    predict.add_argument(
        "inputs",
        nargs="*",
        metavar="NAME=VALUE",
        help="an input's rows as JSON (x=[1,2]), one text (text=hello) or from a file (x=@rows.json). Without any: one "
        "JSON object from stdin, input names to rows, or a whole Open Inference request",
    )
    predict.add_argument("--input", action="append", default=[], metavar="NAME=VALUE", help="the same, repeatable")
    of_server(predict, has_project=False)
    predict.add_argument("--timeout-s", type=seconds(DAY_S), default=60.0, help="seconds to wait for the answer (60)")
    predict.add_argument("--raw", action="store_true", help="print the server's answer as it came")
