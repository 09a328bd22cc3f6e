"""`doctor`'s look at the users of Redis: who we are, and whether ours have the rights of this version."""

from __future__ import annotations

from typing import TYPE_CHECKING

from leadstream_cli import doctor_checks as checks

if TYPE_CHECKING:
    from leadstream_events.redis_client import Client


async def redis_user(client: Client) -> checks.Finding:
    """Asks with ACL DRYRUN, which changes nothing; Redis errors other than refusals pass through."""
    from redis.exceptions import ResponseError

    try:
        name = (await client.execute_command("ACL", "WHOAMI")).decode()
    except ResponseError:  # ACL is often forbidden on managed servers
        return checks.redis_user("a user that may not ask who it is", None, guarded=True)
    try:
        return checks.redis_user(name, await _outdated(client, name), guarded=_guarded(client))
    except ResponseError:
        return checks.redis_user(name, None, guarded=True)


async def _outdated(client: Client, name: str) -> list[str]:
    """Which of our users, or we ourselves where we are none of them, may not do what this version needs."""
    from redis.exceptions import ResponseError

    from leadstream_cli.redis_acl import USER_NAMES, marker

    prefix = next((name.removesuffix(each) for each in USER_NAMES if name.endswith(each)), None)
    found = []
    for user in (name,) if prefix is None else [prefix + each for each in USER_NAMES]:
        try:
            answer = await client.execute_command("ACL", "DRYRUN", user, "EXISTS", marker())
        except ResponseError as error:
            if user == name or "not found" not in str(error):
                raise
            continue  # a service that is not used here
        if answer != b"OK":
            found.append(user)
    return found


def _guarded(client: Client) -> bool:
    """Whether this connection logged in with a password."""
    pool = getattr(client, "connection_pool", None)
    options = pool.connection_kwargs if pool else client.get_connection_kwargs()
    return bool(options.get("password") or options.get("credential_provider"))
