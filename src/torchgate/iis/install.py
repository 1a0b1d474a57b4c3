"""Makes the changes of a plan in IIS one by one, each looked at before and after, and takes them back on failure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from torchgate.contract.bounded_files import read_bounded
from torchgate.contract.programs import ProgramAnswer
from torchgate.iis.appcmd_steps import (
    Command,
    Step,
    application_steps,
    fast_cgi_steps,
    location_steps,
    log_step,
    pool_steps,
)
from torchgate.iis.fast_cgi import application, is_fast_cgi
from torchgate.iis.host_config import LOG_FIELD, locations, pool
from torchgate.iis.plan import Plan
from torchgate.iis.xml_document import Element

_MAX_OUTPUT_CHARACTERS = 500
_MAX_BYTES = 8 << 20


class InstallFailed(Exception):
    """A change was not made; the sentence says which, why, and in which state IIS is left."""


def steps(plan: Plan) -> list[Step]:
    """Everything that a plan wants of IIS, in the order in which it can be done."""
    found = [*pool_steps(plan, pool(plan)), *application_steps(plan), log_step(plan, LOG_FIELD)]
    if is_fast_cgi(plan):
        found += fast_cgi_steps(application(plan))
    for location in locations(plan):
        found += location_steps(location)
    return found


class Journal:
    """How to undo what was done, on disk before it is done, so that it outlives whoever does it.

    Args:
        file: JSON; there only while something is installed.
    """

    def __init__(self, file: Path) -> None:
        self.file = file

    def read(self) -> list[tuple[str, Command]]:
        """Title and undoing command of each change, in the order in which they were made.

        Raises:
            InstallFailed: the file is no journal.
        """
        try:
            entries = json.loads(read_bounded(self.file, _MAX_BYTES))
            return [(str(one["title"]), tuple(map(str, one["undo"]))) for one in entries]
        except FileNotFoundError:
            return []
        except (ValueError, TypeError, KeyError, OSError) as error:
            raise InstallFailed(
                f"{self.file} can't be read ({type(error).__name__}): what is there to undo is unknown."
            ) from None

    def write(self, entries: Sequence[tuple[str, Command]]) -> None:
        """Replace what it says; no entries: no file."""
        if not entries:
            self.file.unlink(missing_ok=True)
            return
        self.file.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.file.with_name(f"{self.file.name}.new")
        fresh.write_text(json.dumps([{"title": t, "undo": list(u)} for t, u in entries], indent=1), encoding="utf-8")
        fresh.replace(self.file)


class Installer:
    """Drives appcmd.exe.

    Args:
        read: applicationHost.config as it is now.
        run: runs appcmd with these arguments.
        journal: of what can be undone.
    """

    def __init__(self, read: Callable[[], Element], run: Callable[[Command], ProgramAnswer], journal: Journal) -> None:
        self._read = read
        self._run = run
        self._journal = journal

    def missing(self, wanted: Sequence[Step]) -> list[tuple[Step, str | None]]:
        """The steps that are not done, each with what is there instead."""
        host = self._read()
        return [(step, step.now(host)) for step in wanted if not step.is_done(host)]

    def install(self, wanted: Sequence[Step]) -> Iterator[str]:
        """Make each change that is missing; a line for each. On failure all of this run are taken back.

        Raises:
            InstallFailed: one was not made.
        """
        entries = self._journal.read()
        before_this_run = len(entries)
        for step in wanted:
            host = self._read()
            if step.is_done(host):
                yield f"as it is: {step.title}"
                continue
            was = step.now(host)
            entries.append((step.title, step.undo(was)))
            self._journal.write(entries)
            failure = self._do(step, was)
            if failure:
                if step.now(self._read()) == was:
                    entries.pop()  # it never came to be
                undone = list(self._undo(entries, before_this_run))
                raise InstallFailed(f"{step.title}: {failure} {self._left(undone)}")
            yield f"done: {step.title}"

    def uninstall(self) -> Iterator[str]:
        """Take back everything that the journal has, last change first; a line for each.

        Raises:
            InstallFailed: something could not be taken back; the journal keeps it.
        """
        entries = self._journal.read()
        if not entries:
            yield "nothing to undo: the journal is empty"
            return
        lines = list(self._undo(entries, 0))
        yield from lines
        if failures := [line for line in lines if line.startswith("NOT UNDONE")]:
            raise InstallFailed(f"{len(failures)} changes could not be undone; {self._journal.file} keeps them.")

    def _do(self, step: Step, was: str | None) -> str:
        """Why it was not made, or empty."""
        try:
            answer = self._run(step.apply(was))
        except OSError as error:  # a timeout, too
            return f"appcmd can't be run: {error}."
        if answer.code:
            return f"appcmd ended with {answer.code}: {_short(answer.output)}"
        if not step.is_done(self._read()):
            return "appcmd said nothing, and nothing has changed."
        return ""

    def _undo(self, entries: list[tuple[str, Command]], keep: int) -> Iterator[str]:
        """Undo what came after the first `keep` entries; what can't be undone stays in the journal."""
        kept = entries[:keep]
        failed: list[tuple[str, Command]] = []
        for title, command in reversed(entries[keep:]):
            failure = self._failure(command)
            if failure:
                failed.insert(0, (title, command))
            yield f"NOT UNDONE: {title}: {failure}" if failure else f"undone: {title}"
        self._journal.write([*kept, *failed])

    def _failure(self, command: Command) -> str:
        try:
            answer = self._run(command)
        except OSError as error:
            return str(error)
        return _short(answer.output) if answer.code else ""

    def _left(self, undone: Sequence[str]) -> str:
        failures = [line for line in undone if line.startswith("NOT UNDONE")]
        if not failures:
            return "Everything that this run had changed is as before."
        return f"{len(failures)} changes could not be taken back: {'; '.join(failures)}"


def command_line(program: str, arguments: Command) -> str:
    """As a person types it into cmd.exe."""
    return " ".join(
        '"{}"'.format(one.replace('"', '\\"')) if any(character in one for character in " &()[]{}^=;!'+,`~|<>") else one
        for one in (program, *arguments)
    )


def _short(output: str) -> str:
    return " ".join(output.split())[:_MAX_OUTPUT_CHARACTERS] or "no output"
