"""Whether an audit trail is whole: every line, link, checkpoint and seal, read and never written.

Found: any change, removal, insertion, reordering or truncation of lines that a checkpoint covers, or that a later
chain names in its first line, or that have a line after them in their chain. The window that is left: the end of a
chain after all of these (audit.checkpoint_events lines or audit.checkpoint_interval_s, and what one sync takes,
after a kill; nothing after a proper stop). There, whoever can write the folder can take whole lines off the end,
or write other ones. Whoever can write the folder can also take a checkpoint and all lines after it away, unless the
checkpoint is known elsewhere (`checkpoints`) or a later chain names it: keep `.head` files on another machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from torchgate.contract.bounded_files import MAX_KEY_BYTES, read_bounded
from torchgate.telemetry.chain_files import ORIGIN
from torchgate.telemetry.chain_statements import Problem
from torchgate.telemetry.chain_verify import ChainCheck, ChainReport, Named
from torchgate.telemetry.checkpoint import Checkpoint, NoteError, PublicKey, read_note, read_notes
from torchgate.telemetry.segment import chains_in


class TrailReport(msgspec.Struct, frozen=True):
    """What `verify` found.

    Args:
        problems: each a proof that the trail is not what was written; empty: it is whole.
        remarks: what is no problem and good to know, e.g. an unfinished line of a process that was killed.
        chains: one for each, oldest first.
        keys: the public keys used, as text.
        keys_are_from_folder: the keys lie in the folder itself: who can rewrite the trail can replace them, too.
    """

    problems: tuple[Problem, ...]
    remarks: tuple[Problem, ...]
    chains: tuple[ChainReport, ...]
    keys: tuple[str, ...]
    keys_are_from_folder: bool

    @property
    def is_whole(self) -> bool:
        """Whether there is no problem."""
        return not self.problems

    @property
    def events(self) -> int:
        """Of all chains."""
        return sum(chain.events for chain in self.chains)

    @property
    def unsigned(self) -> int:
        """Events that no checkpoint covers yet."""
        return sum(chain.events - chain.signed for chain in self.chains)


def verify(folder: Path, keys: Sequence[PublicKey] | None = None, *, checkpoints: Iterable[Path] = ()) -> TrailReport:
    """Examine all chains in a folder; servers may be writing to it.

    Args:
        folder: of the trail.
        keys: that may have signed; None: those published in the folder.
        checkpoints: files with signed checkpoints kept elsewhere (`.head` or `.checkpoints` files): the trail must
            have come at least so far, with the same lines.

    Raises:
        OSError: the folder or a file can't be read.
    """
    problems: list[Problem] = []
    known = list(keys) if keys is not None else _published_keys(folder, problems)
    by_id = {key.key_id: key for key in known}
    if not known:
        problems.append(Problem(str(folder), 0, "no public key is known, so that no signature can be examined"))
    chains = chains_in(folder)
    external = _external(checkpoints, by_id, problems)
    checks = {chain: ChainCheck(folder, chain, by_id) for chain in chains}
    for chain, statements in external.items():
        if chain in checks:
            checks[chain].statements.expect(statements)
        else:
            place, checkpoint = statements[0]
            sentence = f"it speaks of {checkpoint.size} events of chain {chain}, of which no file is left"
            problems.append(Problem(place, 0, sentence))
    named = [name for check in checks.values() for name in check.named()]
    for name in named:
        if name.previous.chain in checks:
            checks[name.previous.chain].will_compare(name.previous.sequence)
    for check in checks.values():
        check.run()
    _compare_names(named, checks, problems)
    reports = tuple(check.report() for check in checks.values())
    for check in checks.values():
        problems += check.problems
    remarks = tuple(remark for check in checks.values() for remark in check.remarks)
    return TrailReport(tuple(problems), remarks, reports, tuple(str(key) for key in known), keys is None)


def read_keys(path: Path) -> list[PublicKey]:
    """The public keys in a file, one a line; empty lines and lines that begin with # are passed over.

    Raises:
        OSError: it can't be read.
        NoteError: a line is no key.
    """
    lines = read_bounded(path, MAX_KEY_BYTES).decode("utf-8").splitlines()
    return [PublicKey.from_text(line) for line in lines if line.strip() and not line.startswith("#")]


def _published_keys(folder: Path, problems: list[Problem]) -> list[PublicKey]:
    keys = []
    for path in sorted(folder.glob("audit-key-*.pub")):
        try:
            keys += read_keys(path)
        except (NoteError, UnicodeDecodeError) as error:
            problems.append(Problem(path.name, 1, str(error)))
    return keys


def _external(
    paths: Iterable[Path], keys: Mapping[bytes, PublicKey], problems: list[Problem]
) -> dict[str, list[tuple[str, Checkpoint]]]:
    found: dict[str, list[tuple[str, Checkpoint]]] = {}
    for path in paths:
        try:
            content = read_bounded(path, MAX_KEY_BYTES).decode("utf-8")
        except UnicodeDecodeError:
            problems.append(Problem(str(path), 0, "it is no text"))
            continue
        for line, note in read_notes(content):
            try:
                checkpoint = read_note(note, keys)
            except NoteError as error:
                problems.append(Problem(str(path), line, f"the checkpoint is not valid: {error}"))
                continue
            chain = checkpoint.origin.removeprefix(ORIGIN)
            found.setdefault(chain, []).append((str(path), checkpoint))
    return found


def _compare_names(named: Iterable[Named], checks: Mapping[str, ChainCheck], problems: list[Problem]) -> None:
    """What each chain says of the chains before it, against what is there."""
    for name in named:
        chain = name.previous.chain
        sentence = (
            checks[chain].contradiction(name)
            if chain in checks
            else f"it names chain {chain}, of which no file is left"
        )
        if sentence:
            problems.append(Problem(name.file, name.line, sentence))
