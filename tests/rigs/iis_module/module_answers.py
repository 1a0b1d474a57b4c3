"""What the module answers by itself."""

from __future__ import annotations


class ModuleFailed(Exception):
    """No process answers: 502.5 where none listens, 502.3 where it is gone or silent, 503.0 while none shall run.

    Args:
        code: status and substatus.
        page: of its own, in place of IIS's.
    """

    def __init__(self, code: str, sentence: str, page: bytes | None = None) -> None:
        super().__init__(f"{code}: {sentence}")
        self.code = code
        self.page = page
