"""A real Active Directory domain controller (Samba) on loopback, for one session of tests.

Its ports are fixed (88, 389 …), so that a machine has one at a time: a locked file guards that.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

REALM = "CORP.TEST"
HOST = "web.corp.test"
SERVICE = f"HTTP/{HOST}"
PASSWORD = "Passw0rd!x9"
STARTED_S = 240.0
PROGRAMS = ("samba", "samba-tool", "ldbadd", "kinit", "curl")

_SETTINGS = """[global]
netbios name = DC1
realm = {realm}
workgroup = CORP
server role = active directory domain controller
server services = rpc, ldap, cldap, kdc, winbindd
interfaces = lo
bind interfaces only = yes
disable netbios = yes
ldap server require strong auth = no
idmap_ldb:use rfc2307 = yes
log file = {folder}/samba.log
private dir = {folder}/dc/private
lock directory = {folder}/dc
cache directory = {folder}/dc/cache
state directory = {folder}/dc/state
pid directory = {folder}/run
ncalrpc dir = {folder}/run/ncalrpc
winbindd socket directory = {folder}/run/winbindd
"""

_KRB5 = """[libdefaults]
default_realm = {realm}
dns_lookup_kdc = false
dns_lookup_realm = false
dns_canonicalize_hostname = false
rdns = false
udp_preference_limit = 1
[realms]
{realm} = {{
  kdc = 127.0.0.1
}}
[domain_realm]
.corp.test = {realm}
"""


def missing_programs() -> str:
    """What of it is not installed, or empty."""
    names = [name for name in PROGRAMS if shutil.which(name) is None]
    if os.name == "posix" and not names and os.geteuid() != 0:
        return "root, for port 88"
    return ", ".join(names)


@dataclass(frozen=True)
class Domain:
    """The running domain.

    Args:
        folder: all of its files.
        sid: of the domain.
    """

    folder: Path
    sid: str

    @property
    def keytab(self) -> Path:
        """Of the service, as its server has it."""
        return self.folder / "web.keytab"

    def environment(self, user: str = "nobody") -> dict[str, str]:
        """For programs that are to find the domain, and the tickets of a user."""
        found = {name: value for name, value in os.environ.items() if not name.startswith("KRB5")}
        found["KRB5_CONFIG"] = str(self.folder / "krb5.conf")
        found["KRB5CCNAME"] = f"FILE:{self.folder}/{user}.cc"
        return found

    def sid_of(self, name: str) -> str:
        """The SID of a user or group."""
        lines = (self.folder / "sids").read_text(encoding="utf-8").splitlines()
        return dict(line.split(" ") for line in lines if line.count(" ") == 1)[name]

    def log_in(self, user: str, password: str = PASSWORD, lifetime: str = "10h") -> None:
        """Get a user its first ticket."""
        _run(["kinit", "-l", lifetime, f"{user}@{REALM}"], self.environment(user), password + "\n")

    def new_keytab(self, name: str, principal: str = SERVICE, *, is_more: bool = False) -> Path:
        """The keys of a service as they are now, alone in the file or added to it."""
        path = self.folder / name
        if not is_more:
            path.unlink(missing_ok=True)
        _run(["samba-tool", "domain", "exportkeytab", str(path), f"--principal={principal}", f"-s{self._settings}"])
        return path

    def add_service(self, service: str, user: str = "websvc") -> None:
        """Let a user's account have this service, too."""
        _run(["samba-tool", "spn", "add", service, user, f"-s{self._settings}"])

    def set_password(self, user: str, password: str) -> None:
        """As an administrator does."""
        _run(["samba-tool", "user", "setpassword", user, f"--newpassword={password}", f"-s{self._settings}"])

    @property
    def _settings(self) -> Path:
        return self.folder / "dc" / "etc" / "smb.conf"


USERS = ("alice", "bjørn", "mallory", "websvc", "oldsvc")
GROUPS = ("analysts", "scientists", "denied")


@contextmanager
def running_domain() -> Iterator[Domain]:
    """The domain, with its users and groups, until the block ends."""
    with tempfile.TemporaryDirectory(prefix="samba-ad-") as name, _alone():
        folder = Path(name)
        sid = _provisioned(folder)
        (folder / "krb5.conf").write_text(_KRB5.format(realm=REALM), encoding="utf-8")
        process = _started(folder)
        try:
            domain = Domain(folder, sid)
            _peopled(domain)
            yield domain
        finally:
            process.terminate()
            try:
                process.wait(120)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(120)


@contextmanager
def _alone() -> Iterator[None]:
    import fcntl

    with (Path(tempfile.gettempdir()) / "torchgate-samba-ad.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _provisioned(folder: Path) -> str:
    said = _run(
        [
            "samba-tool", "domain", "provision", f"--targetdir={folder}/dc", f"--realm={REALM}", "--domain=CORP",
            "--server-role=dc", "--dns-backend=NONE", f"--adminpass={PASSWORD}", "--host-name=dc1",
            "--host-ip=127.0.0.1", "--use-rfc2307", "--option=interfaces=lo", "--option=bind interfaces only=yes",
        ]
    )  # fmt: skip
    found = re.search(r"DOMAIN SID:\s+(S-1-5-21-[0-9-]+)", said)
    if found is None:
        raise RuntimeError(f"the domain was not made: {said[-500:]}")
    (folder / "run").mkdir()
    (folder / "dc" / "etc" / "smb.conf").write_text(_SETTINGS.format(realm=REALM, folder=folder), encoding="utf-8")
    return found[1]


def _started(folder: Path) -> subprocess.Popen[bytes]:
    settings = folder / "dc" / "etc" / "smb.conf"
    with (folder / "samba.out").open("wb") as log:
        process = subprocess.Popen(
            ["samba", "-s", str(settings), "-F", "--no-process-group", "-M", "single"],
            stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    ends_at = time.monotonic() + STARTED_S
    while time.monotonic() < ends_at and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", 88), 1):
            return process
        time.sleep(0.1)
    process.kill()
    raise RuntimeError(
        f"the domain controller did not start: {(folder / 'samba.out').read_text(errors='replace')[-1000:]}"
    )


_PEOPLE = """
import sys
from samba.auth import system_session
from samba.param import LoadParm
from samba.samdb import SamDB
loadparm = LoadParm(); loadparm.load(sys.argv[1])
sam = SamDB(session_info=system_session(), lp=loadparm)
password = sys.stdin.readline().strip()
for user in sys.argv[2].split(","):
    sam.newuser(user, password)
for group in sys.argv[3].split(","):
    sam.newgroup(group)
sam.add_remove_group_members("analysts", ["alice", "bjørn"], add_members_operation=True)
sam.add_remove_group_members("scientists", ["analysts"], add_members_operation=True)
sam.add_remove_group_members("denied", ["mallory"], add_members_operation=True)
import ldb
for user, spn in (("websvc", sys.argv[4]), ("oldsvc", "HTTP/old.corp.test")):
    found = sam.search(expression="(sAMAccountName=%s)" % user, attrs=[])[0].dn
    message = ldb.Message(found)
    message["spn"] = ldb.MessageElement([spn], ldb.FLAG_MOD_ADD, "servicePrincipalName")
    message["enc"] = ldb.MessageElement(["24"], ldb.FLAG_MOD_REPLACE, "msDS-SupportedEncryptionTypes")
    sam.modify(message)
    sam.setpassword("(sAMAccountName=%s)" % user, password, force_change_at_next_login=False, username=user)
for name in sys.argv[2].split(",") + sys.argv[3].split(","):
    found = sam.search(expression="(sAMAccountName=%s)" % name, attrs=["objectSid"])[0]
    print(name, sam.schema_format_value("objectSid", found["objectSid"][0]).decode())
"""


def _system_python() -> str:
    """Samba's own modules are for the system's Python alone."""
    return "/usr/bin/python3"


def _peopled(domain: Domain) -> None:
    settings = domain._settings
    said = _run(
        [_system_python(), "-c", _PEOPLE, str(settings), ",".join(USERS), ",".join(GROUPS), SERVICE],
        stdin=PASSWORD + "\n",
    )
    (domain.folder / "sids").write_text(said, encoding="utf-8")
    domain.new_keytab(domain.keytab.name)


def _run(command: list[str], environment: Mapping[str, str] | None = None, stdin: str = "") -> str:
    done = subprocess.run(
        command, input=stdin, capture_output=True, check=False, timeout=300, encoding="utf-8", errors="replace",
        env=None if environment is None else dict(environment),
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:3])} failed: {(done.stdout + done.stderr)[-800:]}")
    return done.stdout + done.stderr
