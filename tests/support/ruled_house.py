"""A house whose every process logs in to Redis as the user that `leadstream acl` makes for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import redis

from leadstream_cli.embedded import EmbeddedServer
from leadstream_cli.redis_acl import ADMIN, FILE, PREFIX, write_users
from leadstream_events.redis_access import RedisAccess
from tests.support.house import House
from tests.support.process import ServiceProcess


class RuledServer:
    """A server that read the file of users; `default` is off."""

    def __init__(self, binary: Path, folder: Path, *, port: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.users = folder / "users"
        self.users.mkdir()
        # Whoever starts the server looks by INFO whether it is ready, so the users come right after that.
        (self.users / FILE).write_text("user default on nopass ~* &* +@all\n")
        extra = ["--aclfile", str(self.users / FILE), "--acllog-max-len", "1000"]
        self.server = EmbeddedServer.start(folder / "redis", binary=binary, appendfsync="no", port=port, extra=extra)
        write_users(self.users, PREFIX, frozenset())
        with redis.Redis.from_url(self.server.url, protocol=2) as client:
            tell(client, "ACL", "LOAD")

    def login(self, name: str) -> dict[str, str]:
        """The settings of a service."""
        return {
            "LEADSTREAM_REDIS_USERNAME": PREFIX + name,
            "LEADSTREAM_REDIS_PASSWORD_FILE": str(self.users / f"{PREFIX}{name}.password"),
        }

    def client(self, name: str) -> redis.Redis:
        """A connection as that user."""
        password = (self.users / f"{PREFIX}{name}.password").read_text().strip()
        return redis.Redis.from_url(
            self.server.url, username=PREFIX + name, password=password, protocol=2, driver_info=None
        )

    def refused(self) -> list[str]:
        """What Redis refused, as `user reason object` (ACL LOG)."""
        with self.client(ADMIN) as client:
            entries = [dict(zip(entry[::2], entry[1::2], strict=True)) for entry in tell(client, "ACL", "LOG", "1000")]
        return [b" ".join(entry[key] for key in (b"username", b"reason", b"object")).decode() for entry in entries]


def tell(client: redis.Redis, *words: str | bytes) -> Any:
    """Any command; redis-py has no types for that."""
    return client.execute_command(*words)  # type: ignore[no-untyped-call]


class RuledHouse(House):
    """Every process with its own login; beside the usual ones an archiver and a bounce receiver."""

    def __init__(self, folder: Path, binary: Path, bounces_port: int, env: Mapping[str, str]) -> None:
        self._binary, self.bounces_port = binary, bounces_port
        super().__init__(folder, mailers=1, appendfsync="no", **env)
        self.env["LEADSTREAM_BOUNCES_LISTEN"] = f"127.0.0.1:{bounces_port}"
        self.add("archiver", "archiver", ["archiver"])
        self.add("bounces", "bounces", ["bounces"])

    def _start_server(self) -> EmbeddedServer:
        self.ruled = RuledServer(self._binary, self.folder / "ruled", port=self._redis_port)
        return self.ruled.server

    @property
    def access(self) -> RedisAccess:
        """The tests look as the administrator."""
        return RedisAccess(
            self.server.url, PREFIX + ADMIN, password_file=self.ruled.users / f"{PREFIX}{ADMIN}.password"
        )

    def add(self, name: str, service: str, args: Sequence[str], ready_url: str | None = None) -> None:
        """Each with a login of its own."""
        self.processes[name] = ServiceProcess(
            args,
            env=self.login_env(service),
            output=self.folder / f"{name}.log",
            ready_url=ready_url,
            ready_line=None if ready_url else "ready",
            cwd=self.folder,
        )

    def under_one_parent(self) -> None:
        """All six services as children of `leadstream serve`, with one login; before `start`."""
        self.processes = {
            "serve": ServiceProcess(
                ["serve"],
                env={**self.login_env("serve"), "LEADSTREAM_API_PORT": str(self.port)},
                output=self.folder / "serve.log",
                ready_line="children=6",
                cwd=self.folder,
            )
        }

    def renew(self, service: str, **env: str) -> None:
        """Starts a service again with other settings."""
        self.processes[service].terminate()
        self.env |= env
        self.add(service, service, [service])
        self.processes[service].start()

    def login_env(self, service: str) -> Mapping[str, str]:
        """The environment of a service, or of the command line."""
        return {**self.env, **self.ruled.login(service)}
