"""The shared section of one version: half for inputs, half for answers, so that answers can always be written."""

from __future__ import annotations

import logging

from torchgate.contract.back_end import Artifact
from torchgate.contract.errors import BodyTooLarge, Overloaded
from torchgate.contract.os_services import Child, Section
from torchgate.contract.worker_wire import Load
from torchgate.engine.running_batch import OutputSpace
from torchgate.engine.section_memory import ALIGNMENT_BYTES, SectionMemory, SectionPiece

_log = logging.getLogger("torchgate.engine")


class VersionMemory:
    """Where all tensors of a version lie.

    Args:
        artifact: the version.
        section: closed by `close`.
    """

    def __init__(self, artifact: Artifact, section: Section) -> None:
        self._artifact = artifact
        self._section = section
        length = len(section.view)
        half = length // 2 - length // 2 % ALIGNMENT_BYTES
        self.inputs = SectionMemory(section.view, 0, half, section)
        self.outputs = OutputSpace(
            SectionMemory(section.view, half, length - half, section),
            section.view,
            artifact.signature,
            takes_batches=artifact.max_batch_size > 0,
        )

    def reserve(self, length: int) -> SectionPiece:
        """Memory for the inputs of one request.

        Raises:
            Overloaded, BodyTooLarge: as contract.back_end.BackEnd says.
        """
        piece = self.inputs.take(length)
        if piece is not None:
            return piece
        name = f"Model '{self._artifact.ref.name}' version '{self._artifact.ref.version}'"
        if length > self.inputs.length:
            raise BodyTooLarge(
                f"{name} has {self.inputs.length} bytes for inputs; this request has {length}. Send fewer rows."
            )
        raise Overloaded(f"{name} has no memory for inputs of {length} bytes now. Try again.", retry_after_s=1.0)

    def load_message(self, child: Child) -> Load:
        """What makes a child the holder of this version; the section is handed over to it.

        Raises:
            OSError: the child is gone.
        """
        artifact = self._artifact
        return Load(
            model=artifact.ref.name,
            version=artifact.ref.version,
            format=artifact.format,
            folder=artifact.folder,
            entry=artifact.entry,
            signature=artifact.signature,
            max_batch_size=artifact.max_batch_size,
            device=artifact.device,
            device_memory_fraction=artifact.limits.device_memory_fraction,
            parameters=artifact.parameters,
            warm_up=artifact.warm_up,
            section_token=child.hand_over(self._section),
            section_length=len(self._section.view),
            idempotent=artifact.idempotent,
            tuned=artifact.tuned,
            impersonates=artifact.impersonates,
        )

    def close(self) -> None:
        """Give the section back."""
        try:
            self._section.close()
        except BufferError:
            # Somebody still reads an answer; the memory goes with the last view of it.
            _log.debug("the section of %s is still looked at", self._artifact.ref)
