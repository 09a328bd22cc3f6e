"""Effects as values, and the one call that carries them out."""

from __future__ import annotations

from leadstream_events import effects, keys
from leadstream_events.effects import Fence, Settlement, Verb, commit_call
from leadstream_events.ledger import Row, State, fence, parse_row

LEADS = keys.stream(0, keys.LEADS)


def test_keys_are_named_once_by_number_however_often_they_are_used() -> None:
    first = Settlement(LEADS, "1-1", (effects.count("a", "n"), effects.count("b", "n")))
    second = Settlement(LEADS, "1-2", (effects.count("a", "n", 2),), Verb.PARK, Fence("b", "mail", "sending 1 "))
    names, args = commit_call("group", "me", "marks", [first, second])
    assert names == ["marks", LEADS, "a", "b"]
    assert args[:4] == ["group", "me", keys.PARKED, 2]
    assert args[4:] == [
        *(2, "1-1", "ack", 0, "", "", 2, "HINCRBY", 3, 2, "n", 1, "HINCRBY", 4, 2, "n", 1),
        *(2, "1-2", "park", 4, "mail", "sending 1 ", 1, "HINCRBY", 3, 2, "n", 2),
    ]


def test_nothing_to_settle_is_still_a_valid_call() -> None:
    assert commit_call("group", "me", "marks", []) == (["marks"], ["group", "me", keys.PARKED, 0])


def test_once_counts_the_effects_it_guards() -> None:
    inner = [effects.count("a", "n"), effects.expire("a", 5)]
    guard, *rest = effects.once("ledger", "mail", "row", inner)
    assert guard.args == ("mail", "row", 2)
    assert rest == inner


def test_a_due_member_tells_stream_and_entry() -> None:
    effect = effects.due(keys.due(0, keys.MAILER), LEADS, "1-1", 1.5)
    assert (effect.key, effect.args) == ("leadstream:{0}:due", ("leads 1-1", 1500))
    assert keys.due(0, "other") == "leadstream:{0}:due:other"


def test_a_row_is_read_as_it_was_written_and_begins_with_its_fence() -> None:
    row = Row(State.SENDING, 2, 1, "me", "data", 5, "1-1")
    assert parse_row(str(row)) == row
    assert str(row).startswith(fence("ledger", "mail", 2, 1, "me").prefix)
    for other in (fence("l", "m", 3, 1, "me"), fence("l", "m", 2, 0, "me"), fence("l", "m", 2, 1, "m")):
        assert not str(row).startswith(other.prefix)
