"""Connections are kept, replaced, shared out and let go."""

from __future__ import annotations

import asyncio
import socket

import pytest

from leadstream_mail.smtp.outcome import Accepted, Unreachable
from leadstream_mail.smtp.pool import SmtpPool
from tests.integration.smtp.conftest import FROM, MakeRig, a_mail, yes
from tests.support.smtp_server import Fault, Reply, Script


async def test_mails_share_one_connection(rig: MakeRig) -> None:
    smtp = await rig()
    for number in range(1, 11):
        assert isinstance(await smtp.send(number), Accepted)
    assert (smtp.server.connections, smtp.server.count) == (1, 10)
    assert b"RSET" not in smtp.server.commands()


async def test_a_421_while_idle_costs_no_attempt(rig: MakeRig) -> None:
    """Case 039."""
    smtp = await rig()
    assert isinstance(await smtp.send(1), Accepted)
    smtp.server.time_out_all()
    await smtp.server.wait_until(lambda: not smtp.server.open)
    assert isinstance(await smtp.send(2), Accepted)
    assert (smtp.server.count, smtp.server.connections, smtp.before) == (2, 2, 2)


@pytest.mark.parametrize(
    ("phase", "reply"),
    [
        ("mail", Reply(421, "4.4.2 timeout", close=True)),
        ("mail", Reply(drop=True)),
        ("mail", Reply(delay_s=60.0)),
        ("rcpt", Reply(421, "4.4.2 timeout", close=True)),
        ("rcpt", Reply(drop=True)),
    ],
)
@pytest.mark.parametrize("extensions", [("PIPELINING",), ()], ids=["pipelined", "one by one"])
async def test_a_kept_connection_that_ends_before_the_content_is_replaced_at_once(
    rig: MakeRig, phase: str, reply: Reply, extensions: tuple[str, ...]
) -> None:
    """Case 039, met in the middle: the caller is asked once and sees one accepted mail."""
    script = Script(faults=[Fault(phase, reply, connection=1, mail=2)], extensions=extensions)
    smtp = await rig(script, timeout_s=2.0 if reply.delay_s else 30.0)
    assert isinstance(await smtp.send(1), Accepted)
    assert isinstance(await smtp.send(2), Accepted)
    assert (smtp.server.count, smtp.server.connections, smtp.before) == (2, 2, 2)


async def test_a_quota_per_connection_is_met_with_new_connections(rig: MakeRig) -> None:
    smtp = await rig(Script(close_after_mails=3))
    outcomes = [await smtp.send(number) for number in range(1, 11)]
    assert {type(outcome) for outcome in outcomes} == {Accepted}
    assert (smtp.server.count, smtp.server.connections) == (10, 4)


async def test_a_server_that_closes_after_each_mail_is_no_fault(rig: MakeRig) -> None:
    smtp = await rig(Script(faults=[Fault("body", Reply(close=True), times=None)]))
    outcomes = [await smtp.send(number) for number in range(1, 6)]
    assert {type(outcome) for outcome in outcomes} == {Accepted}
    assert (smtp.server.count, smtp.before) == (5, 5)


async def test_a_connection_limit_is_obeyed_without_a_storm(rig: MakeRig) -> None:
    smtp = await rig(Script(max_connections=3, faults=[Fault("body", Reply(delay_s=0.01), times=None)]), connections=8)
    outcomes = await smtp.send_many(range(1, 61))
    assert {type(outcome) for outcome in outcomes} == {Accepted}
    assert smtp.server.count == 60
    assert smtp.server.most_open == 3
    assert smtp.server.refused_connections <= 5
    assert smtp.pool.state.limit == 3


async def test_no_more_connections_are_opened_than_asked_for(rig: MakeRig) -> None:
    smtp = await rig(connections=4)
    outcomes = await smtp.send_many(range(1, 101))
    assert {type(outcome) for outcome in outcomes} == {Accepted}
    assert smtp.server.connections == 4
    assert len(smtp.server.message_ids) == 100


async def test_an_idle_connection_is_left_before_the_server_loses_patience(rig: MakeRig) -> None:
    """Case 040: nothing is held while there is nothing to send."""
    smtp = await rig(idle_s=0.2)
    await smtp.send(1)
    await smtp.server.wait_until(lambda: not smtp.server.open)
    assert smtp.server.commands()[-1] == b"QUIT"
    assert smtp.pool.state.open == 0
    assert isinstance(await smtp.send(2), Accepted)


async def test_closing_says_goodbye_and_refuses_further_mail(rig: MakeRig) -> None:
    smtp = await rig(connections=2)
    await smtp.send_many(range(1, 3))
    await smtp.pool.close()
    await smtp.server.wait_until(lambda: not smtp.server.open)
    assert smtp.server.commands().count(b"QUIT") == smtp.server.connections
    with pytest.raises(RuntimeError):
        await smtp.send(3)


async def test_all_waiting_sends_learn_at_once_that_the_server_is_gone(rig: MakeRig) -> None:
    """One refused connection answers them all; no send dials again for itself."""
    script = Script(faults=[Fault("connect", Reply(554, "5.3.2 closed", delay_s=0.1), times=1)])
    smtp = await rig(script)
    outcomes = await smtp.send_many(range(1, 21))
    assert {type(outcome) for outcome in outcomes} == {Unreachable}
    assert smtp.server.connections == 1
    assert isinstance(await smtp.send(21), Accepted)


async def test_a_cancelled_waiter_takes_nobodys_turn(rig: MakeRig) -> None:
    smtp = await rig(Script(faults=[Fault("body", Reply(delay_s=1.0))]))
    first = asyncio.create_task(smtp.send(1))
    await smtp.server.wait_for(1)
    waiting = [asyncio.create_task(smtp.send(number)) for number in (2, 3)]
    await asyncio.sleep(0)  # lets both tasks run to where they wait
    assert smtp.pool.state.waiting == 2
    waiting[0].cancel()
    assert isinstance(await first, Accepted)
    assert isinstance(await waiting[1], Accepted)
    assert smtp.server.count == 2


async def test_a_name_that_does_not_resolve_is_never_a_mails_fault() -> None:
    """Cases 063, 064."""
    pool = SmtpPool("smtp://relay.invalid:25", connections=1, timeout_s=5.0, data_timeout_s=5.0)
    outcome = await pool.send(FROM, a_mail(), yes)
    await pool.close()
    assert isinstance(outcome, Unreachable)
    assert outcome.failure.cause in ("dns", "timeout")
    assert not outcome.failure.permanent


async def test_a_closed_port_is_unreachable() -> None:
    with socket.socket() as taken:  # bound and never listening: nobody else can have this port
        taken.bind(("127.0.0.1", 0))
        url = f"smtp://127.0.0.1:{taken.getsockname()[1]}"
        pool = SmtpPool(url, connections=1, timeout_s=5.0, data_timeout_s=5.0)
        outcome = await pool.send(FROM, a_mail(), yes)
        await pool.close()
    assert isinstance(outcome, Unreachable)
    assert (outcome.failure.phase, outcome.failure.cause) == ("connect", "connect_failed")
