"""docs/cli.md, made from the commands as they are: `python -m leadstream_cli.reference > docs/cli.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import rich_click as click

from leadstream_cli.main import _SECTIONS, PROGRAM, cli

# One for every command; a test parses each with the command's own options.
EXAMPLES = (
    "up --port 8000",
    "demo",
    "doctor --dns",
    "serve",
    "config",
    "keys add shop --scope ingest",
    "keys list",
    "keys revoke shop",
    "keys rotate shop --grace 1h",
    "api --port 8000",
    "fanout",
    "mailer",
    "projections",
    "archiver",
    "bounces",
    "bounces list -n 10",
    "bounces show 1767225600000-0 --pii --raw",
    "projections status",
    "projections rebuild --all",
    "projections verify",
    "summary",
    "limits",
    "lead submit leads.jsonl",
    "lead show 01900000-0000-7000-8000-000000000001 --pii",
    'lead erase 01900000-0000-7000-8000-000000000001 --reason "asked in writing"',
    "trace visitor@example.com",
    "subscribers list",
    'subscribers add buyer@example.com --name "A Buyer" --state CA --leads-purchased 100',
    "subscribers change buyer@example.com --leads-purchased 200",
    "subscribers remove buyer@example.com",
    "subscribers import subscribers.csv",
    "suppressions list",
    'suppressions add stop@example.com --reason "asked by phone"',
    "suppressions remove stop@example.com --send-held --within 3d",
    "suppressions import addresses.txt",
    "bounce ingest report.eml --recipient bounce+k7f3@mail.example.com",
    "dkim new-key dkim.pem --selector 2026a",
    "send-test me@example.com",
    "preview notification --html",
    "inbox -n 5",
    "streams",
    "groups",
    "groups remove forgotten --reason 'a test of last year'",
    "consumers mailer",
    "pending mailer",
    "tail leads -f --where state=CA",
    "show leads/1767225600000-0",
    "dead list --by domain",
    "dead show dead/1767225600000-0",
    'dead redrive --cause smtp_550 --rate 10/min --reason "address corrected"',
    'dead drop --lead 01900000-0000-7000-8000-000000000001 --reason "a test"',
    'dead settle dead/1767225600000-0 --sent --reason "it is in the log of the mail server"',
    "restore hold",
    "restore settle mail.log",
    "spool",
    "encryption new-key /etc/leadstream/encryption.keys",
    "encryption rotate",
    "acl /etc/leadstream/redis",
    "encryption status",
    "top",
    "claim mailer --reason 'host lost'",
    "seek fanout --to 10m --dry-run",
    "trim outcomes --before 30d --yes",
    "replay --since 1d --handler fanout --dry-run",
    "archive status",
    "archive list --stream leads",
    "archive verify",
    "archive export old.jsonl --since 30d --pii",
    "export events.jsonl --pii --resume",
    "import events.jsonl --merge",
    "operations -n 10",
)

_HEAD = f"""# The `{PROGRAM}` command

Made from the code by `python -m leadstream_cli.reference > docs/cli.md`; a test holds the two together. Every
command has `--help`.

- Data goes to stdout, everything else to stderr. `--json` gives scripts what a table gives people.
- Names, addresses and phone numbers are masked unless `--pii` is given.
- Exit codes: 0 done, 1 failed, 2 wrong use, 3 a check found something wrong, 130 interrupted.
- What changes something says what it will do and asks; `--yes` answers, `--dry-run` ends there. No answer is
  no. `--reason` is kept with the event that the change makes, beside who did it (user@host);
  `{PROGRAM} operations` shows both.
- Settings are those of [configuration.md](configuration.md). Without any, a `{PROGRAM} up` that runs on the
  same data directory is found by itself.

Shell completion, for bash (zsh and fish alike, with `zsh_source` and `fish_source`):

```sh
eval "$(_{PROGRAM.upper()}_COMPLETE=bash_source {PROGRAM})"
```
"""

_TAIL = """
## What operators should know

**Redrive.** A dead letter is closed in the step that begins its mail again, so two people who press at once
have it done once. A mail that the mailer would skip is refused, with the mend. See [decision
0011](decisions/0011-redrive.md).

**Seek.** Going back has entries delivered again. Fan-out, mailer and quota keep a ledger, so nothing is
requested, sent or counted twice. Projections would count twice; they are refused. It is refused while a
consumer of the group is alive (heard of in the last two minutes; one that was stopped by SIGTERM has gone at
once), unless `--force` is given. The new position is read back from Redis and printed, for each stream and
partition. The first entry that is delivered next is the one that was named, or the first one at that time.

**Claim.** Takes entries from consumers that died, and parked ones that are in no queue, and makes them due now.
An entry that its worker still renews is not idle, and stays with it.

**Trim.** Deletes nothing that a group has not finished, no lead whose mail or dead letter is still open, and
nothing at all while a group that must read the stream has never started. That is checked again in the step that
deletes. It shows what keeps the rest. What goes is gone from timelines, and projections cannot be rebuilt from
it: export it first.

**Rebuild, verify, replay and what is kept** are described in [history.md](history.md).

**Export and import.** One CloudEvent (1.0, JSON) a line, in the order of storage; `stream`, `partition` and
`entryid` say where it was stored, and what is no event of ours travels as `leadstream.entry`, in base64. An
import

- never makes a mail be sent or requested: in the step that stores an entry, the groups `fanout`, `mailer` and
  `quota` are led past it, also for the case that they are created again later, and the ledger learns how far
  each mail was. A mail that had not ended is `held`, so that a person settles it;
- keeps entry ids, as ledger rows, requests and dead letters refer to them. What is stored already is left as it
  is, so it can be repeated at will (`--merge`). A line that cannot keep its place is refused, and named;
- brings subscribers, suppressions and the count of purchased leads with it; projections count imported entries
  like any other;
- refuses a Redis that is not empty (unless `--merge`), masked lines, and lines from another number of
  partitions.

**Trace.** Lead ids are found at once. For a mail id, Message-ID, address or subscriber the newest million
entries of each stream are searched on the server, a page at a time; there is no index of addresses that would
have to be erased.

**Top** works over ssh in 80 x 24. Without a terminal, or with `--once` or `--json`, it prints once.

![top](images/top.png)
"""


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command with its whole name, a group's own before its commands."""
    context = click.Context(cli)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None  # noqa: S101  -- it was listed just now
        if not isinstance(command, click.Group):
            yield name, command
            continue
        if command.invoke_without_command:
            yield name, command
        for inner, each in command.commands.items():
            yield f"{name} {inner}", each


def example_of(name: str) -> str:
    """The example of a command."""
    words = name.split()
    found = [item for item in EXAMPLES if item.split()[: len(words)] == words]
    return min(found, key=len)


def reference() -> str:
    """The page."""
    known = dict(commands())
    out = [_HEAD]
    for section, modules in _SECTIONS.items():
        out.append(f"\n## {section}\n\n| command | |\n|---|---|")
        for name, command in known.items():
            if name.split()[0] in modules:
                line = command.get_short_help_str(300).replace("|", "\\|")
                out.append(f"| `{PROGRAM} {example_of(name).replace('|', chr(92) + '|')}` | {line} |")
    return "\n".join(out) + "\n" + _TAIL


if __name__ == "__main__":
    sys.stdout.write(reference())
