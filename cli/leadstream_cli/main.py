"""The `leadstream` command: data on stdout, status on stderr, and exit codes that scripts can trust.

0 done, 1 failed, 2 wrong use, 3 a check found something wrong, 130 interrupted. A reader that closes the pipe
(`| head`) is no failure. Modules of commands import redis and the services only inside the command that needs them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version

import rich_click as click
from click.exceptions import Exit, NoArgsIsHelpError

from leadstream_cli.connection import shown_redis_url
from leadstream_cli.errors_text import DONE, INTERRUPTED, WRONG_USE, explain, say

PROGRAM = "leadstream"

_SECTIONS: dict[str, dict[str, str]] = {
    "Start": {"up": "up", "demo": "demo", "doctor": "doctor", "config": "config", "keys": "keys"},
    "Services": {
        "serve": "serve",
        "api": "services",
        "fanout": "services",
        "mailer": "services",
        "projections": "projections",
        "archiver": "services",
        "bounces": "bounces",
    },
    "Leads and mail": {
        "lead": "leads",
        "trace": "trace",
        "subscribers": "subscribers",
        "suppressions": "suppressions",
        "bounce": "bounce",
        "dkim": "dkim",
        "send-test": "mail",
        "preview": "mail",
        "inbox": "inbox_command",
    },
    "Streams": {
        "streams": "streams",
        "groups": "streams",
        "consumers": "streams",
        "pending": "pending",
        "tail": "tail",
        "show": "show",
        "dead": "dead",
        "spool": "spool",
        "top": "top",
        "limits": "limits",
    },
    "Operate": {
        "claim": "move",
        "seek": "move",
        "trim": "trim",
        "replay": "replay",
        "archive": "archive",
        "encryption": "encryption",
        "acl": "acl",
        "export": "export",
        "import": "importing",
        "restore": "restore",
        "operations": "operations",
        "summary": "summary",
    },
}
_MODULES = {name: module for commands in _SECTIONS.values() for name, module in commands.items()}
click.rich_click.COMMAND_GROUPS = {
    PROGRAM: [{"name": section, "commands": list(commands)} for section, commands in _SECTIONS.items()]
}


def _attribute(command: str) -> str:
    """`import` is no name in Python."""
    return "import_" if command == "import" else command.replace("-", "_")


class LazyGroup(click.RichGroup):
    """Imports the module of a command when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = _MODULES.get(cmd_name)
        if module is None:
            return None
        found = getattr(import_module(f"leadstream_cli.commands.{module}"), _attribute(cmd_name))
        return found if isinstance(found, click.Command) else None


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog='Shell completion: eval "$(_LEADSTREAM_COMPLETE=bash_source leadstream)" (or zsh_source, fish_source).',
)
@click.version_option(version("leadstream"), prog_name=PROGRAM, message="%(prog)s %(version)s")
def cli() -> None:
    """Leads in over HTTP, individual mails out, exact counters.

    Settings come from LEADSTREAM_ variables or leadstream.toml; `leadstream config` shows what is in force.
    """


def _invoke(args: Sequence[str]) -> int:
    """Click's own main turns a closed pipe into exit code 1, so this does without it."""
    try:
        with cli.make_context(PROGRAM, list(args)) as context:
            cli.invoke(context)
        sys.stdout.flush()
        return DONE
    except Exit as done:
        sys.stdout.flush()
        return done.exit_code
    except NoArgsIsHelpError as error:
        error.show()
        return WRONG_USE
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else PROGRAM
        say(f"{path}: {error.format_message()} ({path} --help)")
        return WRONG_USE
    except click.ClickException as error:
        say(f"{PROGRAM}: {error.format_message()}")
        return error.exit_code
    except (click.Abort, EOFError):  # click turns Ctrl-C at a question, and the end of stdin, into the same Abort
        say("no answer, so nothing was done; --yes answers beforehand")
        return INTERRUPTED
    except KeyboardInterrupt:
        say("interrupted")
        return INTERRUPTED


def run(args: Sequence[str]) -> int:
    """Runs one command line and returns its exit code; only a bug raises."""
    try:
        return _invoke(args)
    except BrokenPipeError:
        _drop_stdout()
        return DONE
    except Exception as error:
        explained = explain(error, shown_redis_url())
        if explained is None:
            raise
        line, code = explained
        for part in line.splitlines():
            say(f"{PROGRAM}: {part}")
        return code


def _drop_stdout() -> None:
    """Nobody reads any more: what is buffered must not fail once again at exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def main() -> None:
    """The entry point."""
    if f"_{PROGRAM.upper()}_COMPLETE" in os.environ:
        cli.main(prog_name=PROGRAM)
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
