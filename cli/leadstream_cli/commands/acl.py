"""`acl`: users of Redis with no more rights than each service needs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import rich_click as click

from leadstream_cli.errors_text import say
from leadstream_cli.output import Column, Output, output_options
from leadstream_cli.redis_acl import FILE, PREFIX, USER_NAMES, write_users

_COLUMNS = (Column("user", "USER"), Column("what", "FOR"), Column("password_file", "PASSWORD"), Column("fresh", "NEW"))


def _prefix(_: click.Context, parameter: click.Parameter, value: str) -> str:
    if not value.isascii() or not all(char.isalnum() or char in "-_." for char in value):
        raise click.BadParameter("takes letters, digits, - _ and . only", param=parameter)
    return value


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--prefix", default=PREFIX, show_default=True, callback=_prefix, help="What every user's name begins with."
)
@click.option(
    "--rotate",
    type=click.Choice(["all", *USER_NAMES]),
    multiple=True,
    help="Give this user a new password; the old one is taken too, until the file is written again.",
)
@output_options
def acl(folder: Path, prefix: str, rotate: tuple[str, ...], out: Output) -> None:
    """Write an ACL file for Redis into FOLDER, with a user for each service, and the users' passwords as files.

    Each user may do what its service does and nothing else; `admin` may do everything, and `default` is off. Passwords
    that are in FOLDER are kept, so this is also how the rights of a new version are written. Nothing is sent to Redis:
    name users.acl in its configuration (aclfile), or, where it is named already, have it read again (ACL LOAD). Where
    aclfile names a copy, install it again before each ACL LOAD.
    """
    wanted = frozenset(USER_NAMES if "all" in rotate else rotate)
    rows = [asdict(item) | {"password_file": str(item.password_file)} for item in write_users(folder, prefix, wanted)]
    out.table(rows, _COLUMNS, "")
    say(f"{folder / FILE} is written: aclfile in the server's configuration names it, ACL LOAD reads it again")
    say("where aclfile names a copy, install it again before ACL LOAD")
    if wanted:
        say("old passwords are taken too: once every service has its new one, write the file again without --rotate")
