"""docs/cli.md lists every command as it is, with an example that the command takes."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import rich_click as click

from leadstream_cli.main import cli
from leadstream_cli.reference import EXAMPLES, commands, example_of, reference

ROOT = Path(__file__).resolve().parents[3]


def test_the_page_is_made_from_the_commands_as_they_are() -> None:
    made = (ROOT / "docs/cli.md").read_text()
    assert made == reference(), "run `python -m leadstream_cli.reference > docs/cli.md`"


def test_every_command_has_one_example_and_every_example_a_command() -> None:
    examples = [example_of(name) for name, _ in commands()]
    assert sorted(examples) == sorted(EXAMPLES)


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_taken_by_its_command(example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("subscribers.csv", "addresses.txt", "mail.log"):
        (tmp_path / name).touch()
    command: click.Command = cli
    words = shlex.split(example)
    while isinstance(command, click.Group) and words:
        found = command.get_command(click.Context(command), words[0])
        assert found is not None, f"no command {words[0]}"
        command, words = found, words[1:]
    with command.make_context("leadstream", list(words)) as context:
        assert context.command is command
