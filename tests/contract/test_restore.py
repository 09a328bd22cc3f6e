"""restore: an imported entry keeps its id and is never work, and the ledger learns how far its mail was."""

from __future__ import annotations

from leadstream_events import keys, scripts
from leadstream_events.ledger import Row, State, parse_row
from leadstream_events.redis_client import Client
from tests.contract.given_up import LEAD
from tests.support.entries import EMAILS, OUTCOMES

MAIL = "5bf102fb-dab2-5585-83d0-9279d452b765"


async def restore(client: Client, stream: str, entry: str, group: str, value: str) -> int:
    names = [stream, keys.checkpoints(0), keys.ledger(0, LEAD)]
    args = [entry, f"event {entry}", group, MAIL, value, 0, "id", f"event {entry}"]
    return int(await scripts.run(client, scripts.RESTORE, names, args))


async def row(client: Client) -> Row:
    return parse_row((await client.hget(keys.ledger(0, LEAD), MAIL)).decode())


async def test_an_imported_request_is_held_and_no_mailer_is_handed_it(client: Client) -> None:
    assert await restore(client, EMAILS, "5-1", keys.MAILER, "held 0 0 5") == 1
    assert await restore(client, EMAILS, "5-1", keys.MAILER, "held 0 0 5") == 0
    assert not await client.xreadgroup(keys.MAILER, "m", {EMAILS: ">"})
    assert str(await row(client)) == "held 0 0 - - 5 5-1"


async def test_a_sent_mail_of_which_a_copy_went_stays_sent(client: Client) -> None:
    await restore(client, EMAILS, "5-1", keys.MAILER, "held 0 0 5")
    await restore(client, OUTCOMES, "6-1", keys.QUOTA, "sent 2 0 6")
    assert await restore(client, OUTCOMES, "7-1", keys.QUOTA, "held 1 1 7") == 1
    found = await row(client)
    assert (found.state, found.attempts, found.unknowns, found.entry) == (State.SENT, 2, 1, "5-1")
