"""Every `leadstream ...` that a page shows names a command and options that exist, with those that are required."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import rich_click as click

from leadstream_cli.main import cli
from tests.unit.test_docs import PAGES, ROOT

_FENCE = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)
_INLINE = re.compile(r"(?<!`)`(leadstream [^`]+)`(?!`)")
# In a block of shell: as it is, by its module, or in a container; with settings before it.
_PROGRAM = re.compile(
    r"^\s*(?:sudo )?(?:\w+=\S+ +)*(?:leadstream|\S*python -P -m leadstream_cli\.main|docker compose run --rm cli) +(.+)"
)
_ENDS = frozenset(("|", "||", "&&", ";", "&", ">", ">>", "<"))


def lines_of(text: str) -> list[str]:
    """What follows the program's name, of each command on a page."""
    blocks = [line for block in _FENCE.findall(text) for line in block.replace("\\\n", " ").splitlines()]
    shown = [found[1] for line in blocks if (found := _PROGRAM.match(line.partition(" #")[0]))]
    return shown + [
        found.removeprefix("leadstream ").replace("\n", " ") for found in _INLINE.findall(_FENCE.sub("", text))
    ]


def words_of(line: str) -> list[str]:
    """As a shell splits them, up to the next command."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split, lexer.commenters = True, "#"
    words = list(lexer)
    return words[: next((place for place, word in enumerate(words) if word in _ENDS), len(words))]


def wrong_in(line: str) -> str | None:
    """What the command line would refuse; values and arguments may be placeholders. None for nothing."""
    command: click.Command = cli
    words = words_of(line)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(click.Context(command), words[0])
        if found is None:
            if command.invoke_without_command and command is not cli:
                break
            return f"no command {words[0]}"
        command, words = found, words[1:]
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    known = {name for option in options for name in (*option.opts, *option.secondary_opts)} | {"--help"}
    given = {word.partition("=")[0] for word in (each.strip("[]") for each in words) if re.match(r"--?[a-zA-Z]", word)}
    if unknown := given - known:
        return f"no option {min(unknown)}"
    # A name alone speaks of the command.
    missing = [option.opts[0] for option in options if option.required and words and not given & set(option.opts)]
    return f"without {missing[0]}" if missing else None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_shows_commands_as_they_are(page: Path) -> None:
    found = {line: wrong_in(line) for line in lines_of(page.read_text())}
    assert {line: wrong for line, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("trim leads --dry-run", "without --before"),
        ("trim leads --before 30d --dry-run", None),
        ("groups --nonsense", "no option --nonsense"),
        ("nonsense", "no command nonsense"),
        ("export leads | jq -r .id", None),
    ],
)
def test_what_the_command_line_would_refuse_is_seen(line: str, wrong: str | None) -> None:
    assert wrong_in(line) == wrong


def test_commands_are_found_in_blocks_and_in_the_text() -> None:
    page = (
        "see `leadstream dead list\n--by cause`\n```sh\nsudo leadstream acl DIR  # why\n"
        "docker compose run --rm cli keys add \\\n  me\n```\n"
    )
    assert [line.split() for line in lines_of(page)] == [
        ["acl", "DIR"], ["keys", "add", "me"], ["dead", "list", "--by", "cause"],
    ]  # fmt: skip
