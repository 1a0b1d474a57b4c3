"""The tests of control groups once more, on a plain machine with version 2 and all controllers: user-mode Linux."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from tests.rigs.control_groups import missing
from tests.rigs.user_mode_linux import run_in_user_mode_linux

ROOT = Path(__file__).parents[3]
FILE = Path(__file__).parent / "test_control_groups.py"

pytestmark = [pytest.mark.linux("control groups are Linux's"), pytest.mark.timeout(900)]


IN_THE_ONLY_GROUP = 'exec "$@"'
IN_A_GROUP_OF_ITS_OWN = """
mkdir /sys/fs/cgroup/service
echo "+memory +pids +cpu" >/sys/fs/cgroup/cgroup.subtree_control
echo $$ >/sys/fs/cgroup/service/cgroup.procs
exec "$@"
"""


@pytest.mark.parametrize(
    ("start", "selected"),
    [
        pytest.param(IN_A_GROUP_OF_ITS_OWN, "test", id="own_group"),
        pytest.param(IN_THE_ONLY_GROUP, "by_itself or processes_without_end", id="only_group"),
    ],
)
def test_all_hold_where_all_controllers_are(tmp_path, start, selected):
    """As in a container or a service: a server may not stay in the group whose controllers it hands down."""
    if not missing("memory", "pids", "cpu"):
        return  # they have run right here
    options = [
        "-q",
        "-p",
        "tests.skip_policy",
        "-p",
        "no:cacheprovider",
        f"--basetemp={tmp_path / 'inside'}",
        "-k",
        selected,
    ]
    command = ["sh", "-c", start, "sh", sys.executable, "-m", "pytest", *options, str(FILE)]
    ran = run_in_user_mode_linux(command, ROOT, tmp_path, timeout_s=800)
    assert ran.code == 0, ran.output
    assert re.search(r"\b\d+ passed", ran.output)
    assert "skipped" not in ran.output
