"""A Postfix of the test's own on loopback: its folders, its ports, its queue; never the system's service.

It takes mail from this machine for any recipient. What happens to it is decided by the recipient's domain:

- `LOCAL`: it has no such user, so Postfix itself makes a delivery status notification;
- `MAILBOX`: delivered into one folder, where `delivered()` finds the bytes;
- every domain in `routes`: handed on to that port by SMTP or LMTP, for example notifications to the bounce receiver;
- anything else: bounced, since nothing looks at DNS and nothing leaves the machine.

Needs Debian's package `postfix` and root (its master process starts others under users of their own).
"""

from __future__ import annotations

import os
import shutil
import signal
import smtplib
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.support.waiting import eventually_sync, process_runs

LOCAL, MAILBOX = "local.example.com", "mailbox.example.com"
_DAEMONS = Path("/usr/lib/postfix/sbin")

_MAIN = """
compatibility_level = 3.6
config_directory = {folder}/config
queue_directory = {folder}/queue
data_directory = {folder}/data
daemon_directory = {daemons}
command_directory = {commands}
mail_owner = postfix
setgid_group = postdrop
myhostname = mx.example.com
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtp_dns_support_level = disabled
smtp_host_lookup = native
smtpd_peername_lookup = no
smtpd_recipient_restrictions = permit_mynetworks, reject
smtpd_reject_unlisted_recipient = no
alias_maps =
alias_database =
recipient_delimiter =
biff = no
virtual_mailbox_domains = {local}, {mailbox}
virtual_mailbox_maps = inline:{{ {{ @{mailbox} = inbox/ }} }}
virtual_mailbox_base = {folder}/mail
virtual_minimum_uid = 1
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
transport_maps = inline:{{ {routes} }}
default_transport = error:5.1.2 nothing leaves this machine
minimal_backoff_time = 1s
maximal_backoff_time = 1s
queue_run_delay = 1s
transport_retry_time = 1s
maillog_file_prefixes = {folder}
maillog_file = {folder}/log/maillog
"""

_MASTER = """
127.0.0.1:{port} inet n - n - - smtpd
postlog unix-dgram n - n - 1 postlogd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 1 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
lmtp unix - - n - - lmtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
"""


def missing() -> str | None:
    """Why no Postfix can be run here, or None."""
    if not (_DAEMONS / "master").exists() or shutil.which("postfix") is None:
        return "no postfix here (Debian: apt-get install postfix)"
    return None if os.geteuid() == 0 else "postfix needs root to start its processes"


def require_postfix() -> None:
    """Skips the test where Postfix cannot be run; fails it where CI says that it must."""
    reason = missing()
    if reason and os.environ.get("LEADSTREAM_REQUIRE_POSTFIX") == "1":
        pytest.fail(f"LEADSTREAM_REQUIRE_POSTFIX=1, but there is {reason}")
    if reason:
        pytest.skip(reason)


class Postfix:
    """Use it in a `with` block. `routes`: domain to `smtp:[127.0.0.1]:port` or `lmtp:inet:127.0.0.1:port`."""

    def __init__(self, routes: Mapping[str, str] | None = None) -> None:
        # Its processes run as other users, and pytest's own folders are closed to them.
        self.folder = Path(tempfile.mkdtemp(prefix="leadstream-postfix-"))
        self.port = free_port()
        self.routes = dict(routes or {})
        self._master: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """For `LEADSTREAM_SMTP_URL`."""
        return f"smtp://127.0.0.1:{self.port}"

    def __enter__(self) -> Postfix:
        try:
            self._write()
            config = str(self.folder / "config")
            subprocess.run(["postfix", "-c", config, "check"], check=True, capture_output=True, timeout=60)
            self._master = subprocess.Popen(
                [_DAEMONS / "master", "-c", config, "-d"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            eventually_sync(self._answers, f"postfix on port {self.port} to answer", 60.0)
        except BaseException as error:
            error.add_note(f"its log:\n{self.log()[-3000:]}")
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends it with every process that it started, and removes its folder."""
        master, self._master = self._master, None
        if master is not None:
            master.terminate()
            try:
                master.wait(30)
            except subprocess.TimeoutExpired:
                master.kill()
                master.wait()
            with suppress(ProcessLookupError):  # the master is the leader of the group of all of them
                os.killpg(master.pid, signal.SIGKILL)
            assert not process_runs(master.pid)
        shutil.rmtree(self.folder, ignore_errors=True)

    def delivered(self) -> list[bytes]:
        """The mails to `MAILBOX` so far, as they were delivered: trace headers in front, line ends LF."""
        return [path.read_bytes() for path in sorted((self.folder / "mail/inbox/new").glob("*"))]

    def log(self) -> str:
        """Its log so far."""
        path = self.folder / "log/maillog"
        return path.read_text(errors="replace") if path.exists() else ""

    def _write(self) -> None:
        self.folder.chmod(0o755)
        user = Path("/var/lib/postfix").stat()
        for name in ("config", "queue", "data", "mail", "log"):
            (self.folder / name).mkdir()
        for name in ("data", "mail"):
            os.chown(self.folder / name, user.st_uid, user.st_gid)
        routes = ", ".join(f"{{ {domain} = {where} }}" for domain, where in self.routes.items())
        values = {
            "folder": self.folder, "daemons": _DAEMONS, "commands": Path(shutil.which("postfix") or "").parent,
            "local": LOCAL, "mailbox": MAILBOX, "uid": user.st_uid, "gid": user.st_gid,
            "routes": routes or "{ unused.invalid = error:unused }",
        }  # fmt: skip
        (self.folder / "config/main.cf").write_text(_MAIN.format(**values))
        (self.folder / "config/master.cf").write_text(_MASTER.format(port=self.port))

    def _answers(self) -> bool:
        assert self._master is not None
        if self._master.poll() is not None:
            raise AssertionError(f"postfix ended with {self._master.returncode}")
        try:
            with smtplib.SMTP("127.0.0.1", self.port, timeout=5) as client:
                return client.noop()[0] == 250
        except OSError:
            return False
