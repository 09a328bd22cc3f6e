"""restore: an imported entry keeps its id and is never work, and the ledger learns how far its mail was."""

from __future__ import annotations

from leadstream_events import keys, scripts
from leadstream_events.envelope import encode, make_event
from leadstream_events.ledger import FANOUT_FIELD, Row, State, parse_row
from leadstream_events.redis_client import Client
from leadstream_events.runtime.delivery import make_delivery
from leadstream_events.schemas.events import LeadReceived
from leadstream_events.schemas.lead import Lead
from leadstream_events.schemas.subscriber import SubscriberDraft
from leadstream_events.subscribers import SubscriberStore
from leadstream_mailer.fanout import Fanout
from tests.contract.given_up import LEAD
from tests.support.entries import EMAILS, LEADS, OUTCOMES, now
from tests.support.sealed import sealer

MAIL = "5bf102fb-dab2-5585-83d0-9279d452b765"


async def restore(client: Client, stream: str, entry: str, group: str, value: str, field: str = MAIL) -> int:
    names = [stream, keys.checkpoints(0), keys.ledger(0, LEAD)]
    args: list[str | int] = [entry, f"event {entry}", group, field, value, 0, "id", f"event {entry}"]
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


async def test_a_fanout_that_is_set_back_requests_nothing_for_an_imported_lead(client: Client) -> None:
    await SubscriberStore(client).add(SubscriberDraft(email="s@example.com", name="S"), now())
    await restore(client, LEADS, "5-1", keys.FANOUT, "5-1 imported", field="lead")
    lead = make_event(LeadReceived(lead=Lead(full_name="A", email="a@example.com")), subject=LEAD, now=now())
    fields = {name.encode(): value.encode() for name, value in encode(lead).items()}
    fanout = Fanout(client, sealer(), welcome=True)
    (settlement,) = await fanout.handle([make_delivery(0, LEADS, b"5-1", fields)])
    assert [effect.command for effect in settlement.effects] == ["ONCE"]
    assert await client.hget(keys.ledger(0, LEAD), FANOUT_FIELD) == b"5-1"
