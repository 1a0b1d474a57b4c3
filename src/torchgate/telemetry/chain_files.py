"""One chain on disk: its segments, the hash tree over their lines, and the signed statements beside them."""

from __future__ import annotations

import contextlib
from pathlib import Path

from torchgate.telemetry.checkpoint import Checkpoint, Signer
from torchgate.telemetry.merkle_tree import MerkleTree
from torchgate.telemetry.segment import SegmentFile, replace_durably, sync_folder, write_durably

ORIGIN = "torchgate-audit/"
"""What the origin of a chain's checkpoints begins with; the chain's id follows."""


class ChainFiles:
    """A chain that is being written. Not thread-safe: one owner at a time.

    The order of writing is what keeps a crash from looking like an attack: a statement is signed only over lines
    that are on disk, and the `.head` is never ahead of the `.checkpoints`.

    Args:
        folder: of the trail.
        chain: id.
        signer: of its checkpoints.

    Raises:
        OSError: its first segment can't be made.
    """

    def __init__(self, folder: Path, chain: str, signer: Signer) -> None:
        self.folder = folder
        self._chain = chain
        self._signer = signer
        self._tree = MerkleTree()
        self._segment = SegmentFile(folder, chain, 1)
        self._segment_first = 1  # sequence of the segment's first line
        self._must_rotate = False
        self.checkpoint_size = 0
        sync_folder(folder)

    @property
    def size(self) -> int:
        """Lines written."""
        return self._tree.size

    @property
    def segment_length(self) -> int:
        """Bytes in the segment that is open."""
        return self._segment.length

    def append(self, line: bytes, leaf: bytes) -> None:
        """Hand one line to the operating system.

        Raises:
            OSError: it is not in the file.
        """
        self._segment.append(line)
        self._tree.append(leaf)

    def append_all(self, lines: list[tuple[bytes, bytes]]) -> None:
        """Hand several (line, leaf) over at once: all or none.

        Raises:
            OSError: none of them is in the file.
        """
        self._segment.append(b"".join([line for line, _ in lines]))
        for _, leaf in lines:
            self._tree.append(leaf)

    def sync(self) -> None:
        """Put all lines on disk."""
        self._segment.sync()

    def repair(self) -> None:
        """Undo what a failure left half done, so that lines can be appended again.

        Raises:
            OSError: it still fails.
        """
        self._segment.repair()
        if self._must_rotate:
            self.rotate()

    def statement(self, extensions: tuple[str, ...] = ()) -> Checkpoint:
        """How far the chain has come; to be signed once these lines are on disk."""
        return Checkpoint(ORIGIN + self._chain, self.size, self._tree.root(), extensions)

    def publish(self, statement: Checkpoint) -> None:
        """Sign a statement whose lines are on disk, and write it beside the trail.

        Thread: by one thread at a time, but not necessarily the owner.
        """
        self._write_note(self._signer.sign(statement), statement.size)

    def seal(self, *, is_final: bool) -> None:
        """Sign the segment as complete; call after `sync`.

        Args:
            is_final: the chain ends with it.
        """
        facts = (
            f"{'final ' if is_final else ''}seal {self._segment.number:05} lines {self.size - self._segment_first + 1}"
            f" bytes {self._segment.length}"
        )
        note = self._signer.sign(self.statement((facts,)))
        replace_durably(self._segment.path.with_suffix(".seal"), note.encode("utf-8"))
        self._write_note(note, self.size)

    def rotate(self) -> None:
        """Seal the segment and open the next; call after `sync`.

        Raises:
            OSError: it stays as it was, and `repair` does it again.
        """
        self._must_rotate = True
        self.seal(is_final=False)
        following = SegmentFile(self.folder, self._chain, self._segment.number + 1)
        self._segment.close()
        self._segment = following
        self._segment_first = self.size + 1
        self._must_rotate = False
        sync_folder(self.folder)

    def close(self) -> None:
        """Give the files back."""
        self._segment.close()

    def _write_note(self, note: str, size: int) -> None:
        write_durably(self.folder / f"audit-{self._chain}.checkpoints", f"{note}\n".encode(), append=True)
        head = self.folder / f"audit-{self._chain}.head"
        with contextlib.suppress(PermissionError):  # Windows: somebody reads it now; the next checkpoint replaces it
            replace_durably(head, note.encode("utf-8"))
        self.checkpoint_size = size
