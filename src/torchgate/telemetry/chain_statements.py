"""What was signed about one chain: its checkpoints and seals, read and examined by themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from torchgate.telemetry.chain_files import ORIGIN
from torchgate.telemetry.checkpoint import Checkpoint, NoteError, PublicKey, read_note, read_notes

_SEAL = re.compile(r"(?P<final>final )?seal (?P<number>\d+) lines (?P<lines>\d+) bytes (?P<bytes>\d+)")


class Problem(msgspec.Struct, frozen=True):
    """Something found at a place.

    Args:
        file: name.
        line: 1-based, or 0: the file as a whole.
        sentence: what.
    """

    file: str
    line: int
    sentence: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.sentence}" if self.line else f"{self.file}: {self.sentence}"


class Seal(msgspec.Struct, frozen=True):
    """What a seal says of its segment: its number, its lines and bytes; `is_final`: the chain ends with it."""

    is_final: bool
    number: int
    lines: int
    bytes: int


class ChainStatements:
    """The statements about one chain.

    Args:
        folder: of the trail.
        chain: id.
        keys: that may have signed, by key id.
    """

    def __init__(self, folder: Path, chain: str, keys: Mapping[bytes, PublicKey]) -> None:
        self.problems: list[Problem] = []
        self.remarks: list[Problem] = []
        self.by_size: dict[int, list[tuple[str, Checkpoint]]] = {}  # (place, checkpoint) by lines covered
        self.seals: dict[int, Seal] = {}  # by number of the segment
        self._folder = folder
        self._chain = chain
        self._keys = keys

    def expect(self, statements: Sequence[tuple[str, Checkpoint]]) -> None:
        """Further checkpoints, (place, checkpoint), that the chain must agree with."""
        for place, checkpoint in statements:
            self.by_size.setdefault(checkpoint.size, []).append((place, checkpoint))

    def read_checkpoints(self) -> None:
        """The `.checkpoints` and `.head` files; before the lines are read."""
        name, head_name = f"audit-{self._chain}.checkpoints", f"audit-{self._chain}.head"
        head = self._text(head_name)  # first: the head is never ahead of the checkpoints
        content = self._text(name)
        for line, note, is_whole in _with_wholeness(content):
            checkpoint = self._note(name, line, note) if is_whole else None
            if not is_whole:
                self.remarks.append(Problem(name, line, "its last checkpoint was not finished"))
            if checkpoint is not None:
                self._add_seal(checkpoint)
        if head or (self._folder / head_name).exists():
            self._note(head_name, 1, head)
            if f"{head}\n" not in content:
                self.problems.append(Problem(name, 0, f"the checkpoint in {head_name} is missing"))
        elif content.count("\n\n") > 2:  # more than the first, after which a kill can come before the head
            self.problems.append(Problem(head_name, 0, "it is missing"))

    def read_seals(self, segments: Mapping[int, Path]) -> None:
        """The `.seal` files of these segments; before their lines are read."""
        for number, path in segments.items():
            name = path.with_suffix(".seal").name
            if not (self._folder / name).exists():
                continue
            checkpoint = self._note(name, 1, self._text(name))
            if checkpoint is not None:
                seal = self._add_seal(checkpoint)
                if seal is None or seal.number != number:
                    self.problems.append(Problem(name, 0, "it is another segment's seal"))

    def _text(self, name: str) -> str:
        try:
            return (self._folder / name).read_bytes().decode("utf-8")
        except FileNotFoundError:
            return ""
        except UnicodeDecodeError:
            self.problems.append(Problem(name, 0, "it is no text"))
            return ""

    def _note(self, name: str, line: int, note: str) -> Checkpoint | None:
        try:
            checkpoint = read_note(note, self._keys)
        except NoteError as error:
            self.problems.append(Problem(name, line, f"the checkpoint is not valid: {error}"))
            return None
        if checkpoint.origin != ORIGIN + self._chain:
            self.problems.append(Problem(name, line, f"the checkpoint is another chain's: {checkpoint.origin}"))
            return None
        self.by_size.setdefault(checkpoint.size, []).append((f"{name}:{line}", checkpoint))
        return checkpoint

    def _add_seal(self, checkpoint: Checkpoint) -> Seal | None:
        for extension in checkpoint.extensions:
            if match := _SEAL.fullmatch(extension):
                number, lines, length = (int(match[name]) for name in ("number", "lines", "bytes"))
                seal = Seal(match["final"] is not None, number, lines, length)
                self.seals[number] = seal
                return seal
        return None


def _with_wholeness(content: str) -> Iterator[tuple[int, str, bool]]:
    """The notes of a `.checkpoints` file; only the last, and only if its end is missing, is not whole."""
    notes = list(read_notes(content))
    for index, (line, note) in enumerate(notes):
        is_last = index == len(notes) - 1
        yield line, note, not is_last or content.endswith("\n\n")
