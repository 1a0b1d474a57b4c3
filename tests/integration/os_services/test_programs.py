"""Programs of the system: found where the system has them, and nowhere else."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.windows("Linux looks along PATH alone")

if sys.platform == "win32":
    from torchgate.windows.programs import WindowsPrograms

    SHELL = Path(os.environ["COMSPEC"])

    def test_a_bare_name_is_a_program_of_windows():
        assert WindowsPrograms().run(["cmd", "/c", "exit 3"], 120).code == 3

    def test_a_program_that_lies_in_the_current_folder_is_not_taken(tmp_path: Path, monkeypatch):
        """Somebody has put it there, and an administrator runs `torchgate doctor` in that folder."""
        shutil.copyfile(SHELL, tmp_path / "planted.exe")
        monkeypatch.chdir(tmp_path)
        with pytest.raises(FileNotFoundError):
            WindowsPrograms().run(["planted", "/c", "exit 3"], 120)
        assert WindowsPrograms().run([str(tmp_path / "planted.exe"), "/c", "exit 4"], 120).code == 4
