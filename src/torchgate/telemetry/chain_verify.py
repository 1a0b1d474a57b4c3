"""Whether one chain is whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from torchgate.contract.counted import counted
from torchgate.telemetry.chain_opening import ChainLine, PreviousChain
from torchgate.telemetry.chain_statements import ChainStatements, Problem
from torchgate.telemetry.checkpoint import PublicKey
from torchgate.telemetry.merkle_tree import MerkleTree, leaf_hash
from torchgate.telemetry.segment import segment_name, segments_of

_MAX_LINE_BYTES = 1 << 20  # a line of ours has about 2 kB; more is none of ours, and must not fill the memory


class ChainReport(msgspec.Struct, frozen=True):
    """One chain, in figures.

    Args:
        chain: id.
        events, segments: found.
        signed: events that the last checkpoint covers.
        is_closed: it was ended properly, with a final seal.
    """

    chain: str
    events: int
    segments: int
    signed: int
    is_closed: bool


class Named(msgspec.Struct, frozen=True):
    """What a line (file, line) says of another chain."""

    file: str
    line: int
    previous: PreviousChain


class ChainCheck:
    """Examines one chain; `run`, then read the rest.

    Statements are read before the lines that they speak of, so that a chain which grows meanwhile is no problem.

    Args:
        folder: of the trail.
        chain: id.
        keys: that may have signed, by key id.
    """

    def __init__(self, folder: Path, chain: str, keys: Mapping[bytes, PublicKey]) -> None:
        self.statements = ChainStatements(folder, chain, keys)
        self.problems = self.statements.problems
        self.remarks = self.statements.remarks
        self._folder = folder
        self._chain = chain
        self._tree = MerkleTree()
        self._previous = ""
        self._expected = 1  # sequence of the next line, as the one before it has it: a gap is told once
        self._signed = 0
        self._contradicting: dict[str, int] = {}  # file of checkpoints → how many that the lines contradict
        self._segments: Mapping[int, Path] = {}
        self._hashes: dict[int, str] = {}  # sequence → hash, for those that other chains name

    def named(self) -> list[Named]:
        """What its first line says of the chains before it; before or after `run`."""
        path = self._folder / segment_name(self._chain, 1)
        try:
            content = next((content for content, is_complete in _lines(path) if is_complete), b"")
            previous = msgspec.json.decode(content, type=ChainLine).unmapped.previous
        except (FileNotFoundError, msgspec.MsgspecError, UnicodeDecodeError):
            return []  # `run` says so
        return [Named(path.name, 1, chain) for chain in previous]

    def will_compare(self, sequence: int) -> None:
        """Remember the hash of this event, for `contradiction`; before `run`."""
        self._hashes[sequence] = ""

    def run(self) -> None:
        """Read everything.

        Raises:
            OSError: a file can't be read.
        """
        self.statements.read_checkpoints()
        self._segments = segments_of(self._folder, self._chain)
        self.statements.read_seals(self._segments)
        self._check_numbers()
        for number, path in self._segments.items():
            self._read_segment(number, path)
        self._check_ends()

    def report(self) -> ChainReport:
        """The figures."""
        is_closed = any(seal.is_final for seal in self.statements.seals.values())
        return ChainReport(self._chain, self._tree.size, len(self._segments), self._signed, is_closed)

    def contradiction(self, named: Named) -> str:
        """What is wrong with what another chain says of this one; empty: nothing."""
        previous = named.previous
        if previous.sequence > self._tree.size:
            return (
                f"it names event {previous.sequence} of chain {self._chain}, of which only {self._tree.size} are left"
            )
        if self._hashes[previous.sequence] != previous.hash:
            return f"it names event {previous.sequence} of chain {self._chain} with another hash than it has"
        return ""

    def _check_numbers(self) -> None:
        expected = max([*self._segments, *self.statements.seals], default=0)
        for number in range(1, expected + 1):
            name = segment_name(self._chain, number)
            if number not in self._segments:
                self.problems.append(Problem(name, 0, "the segment is missing"))
            elif number < expected and number not in self.statements.seals:
                self.problems.append(Problem(name, 0, "another segment follows, but it has no seal"))
            elif number in self.statements.seals and not (self._folder / name).with_suffix(".seal").exists():
                self.problems.append(Problem(name, 0, "its .seal file is missing"))
        if not self._segments and not self.statements.seals:
            self.problems.append(Problem(segment_name(self._chain, 1), 0, "the segment is missing"))
        finals = [seal.number for seal in self.statements.seals.values() if seal.is_final]
        if finals and finals[0] != expected:
            self.problems.append(Problem(segment_name(self._chain, expected), 0, "it follows the chain's final seal"))

    def _read_segment(self, number: int, path: Path) -> None:
        count = length = 0
        for content, is_complete in _lines(path):
            if not is_complete:
                self._torn(number, path, count + 1, len(content))
                break
            count += 1
            length += len(content) + 1
            self._read_line(path.name, count, content)
        seal = self.statements.seals.get(number)
        if seal is not None and (seal.lines, seal.bytes) != (count, length):
            sentence = f"it has {count} lines of {length} bytes; its seal says {seal.lines} of {seal.bytes}"
            self.problems.append(Problem(path.name, 0, sentence))

    def _torn(self, number: int, path: Path, line: int, length: int) -> None:
        if number in self.statements.seals or number < max(self._segments):
            self.problems.append(Problem(path.name, line, "the line is cut, in a segment that was sealed"))
        else:
            sentence = f"{length} bytes of a line that is not finished: no answer has left for it"
            self.remarks.append(Problem(path.name, line, sentence))

    def _read_line(self, name: str, number: int, content: bytes) -> None:
        try:
            link = msgspec.json.decode(content, type=ChainLine)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            self.problems.append(Problem(name, number, "it is no event of ours"))
            link = None
        if link is not None and link.unmapped.prev != self._previous:
            sentence = "it names another line before it than the one that is there (changed, removed, added or moved)"
            self.problems.append(Problem(name, number, sentence))
        if link is not None and link.metadata.sequence != self._expected:
            sentence = f"its sequence is {link.metadata.sequence}, and {self._expected} was expected"
            self.problems.append(Problem(name, number, sentence))
        self._expected = (self._expected if link is None else link.metadata.sequence) + 1
        leaf = leaf_hash(content)
        self._previous = leaf.hex()
        self._tree.append(leaf)
        if self._tree.size in self._hashes:
            self._hashes[self._tree.size] = self._previous
        for place, checkpoint in self.statements.by_size.get(self._tree.size, ()):
            if checkpoint.root == self._tree.root():
                self._signed = self._tree.size
                continue
            file = place.rpartition(":")[0] or place
            self._contradicting[file] = self._contradicting.get(file, 0) + 1
            if self._contradicting[file] == 1:  # each one after it contradicts, too
                sentence = f"lines up to here are not those that {place} was signed for ({checkpoint.size} events)"
                self.problems.append(Problem(name, number, sentence))

    def _check_ends(self) -> None:
        for file, count in self._contradicting.items():
            if count > 1:
                self.problems.append(
                    Problem(file, 0, f"the lines contradict {counted(count - 1, 'later checkpoint')}, too")
                )
        beyond = [size for size in self.statements.by_size if size > self._tree.size]
        if beyond:
            place, checkpoint = self.statements.by_size[max(beyond)][0]
            last = segment_name(self._chain, max(self._segments, default=1))
            sentence = (
                f"the chain ends at event {self._tree.size}, but {place} was signed for {checkpoint.size}: "
                f"{checkpoint.size - self._tree.size} events are missing"
            )
            self.problems.append(Problem(last, 0, sentence))
        if self._tree.size > 1 and not self.statements.by_size:
            self.problems.append(Problem(segment_name(self._chain, 1), 0, "no valid checkpoint speaks of this chain"))


def _lines(path: Path) -> Iterator[tuple[bytes, bool]]:
    """Lines without their newline, and whether they had one."""
    with path.open("rb") as file:
        while content := file.readline(_MAX_LINE_BYTES):
            yield (content[:-1], True) if content.endswith(b"\n") else (content, False)
