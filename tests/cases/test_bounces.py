"""Area E by the receiver's own way in: what comes back is believed by a token of ours, and by nothing else."""

from __future__ import annotations

import pytest

from leadstream_bounces.proofs import Incoming
from leadstream_events.ids import new_id
from leadstream_events.tokens import Purpose, sign, to_local_part
from leadstream_mail.return_path import return_path
from tests.integration.bounces.conftest import ABUSE, BASE, SECRETS, Post, post
from tests.support.report_mails import complaint, dsn, headers_of
from tests.support.sent_mail import sent_mail

__all__ = ["post"]

STRANGER = (b"a stranger's secret",)


def by_smtp(raw: bytes, *recipients: str) -> Incoming:
    return Incoming(raw, recipients, "smtp")


@pytest.mark.parametrize("spelling", ["as it was", "upper", "behind"])
async def test_a_plus_in_the_recipient_and_any_case_of_the_bounce_address_map_back_exactly(
    post: Post, spelling: str
) -> None:
    """Case 146."""
    mail = await sent_mail(post.client, "lead+ford@example.com")
    local, _, domain = post.path(mail).partition("@")
    to = {"as it was": f"{local}@{domain}", "upper": f"{local}@{domain}".upper(), "behind": f"{local}=x@{domain}"}
    taken = await post.intake.take(by_smtp(dsn(to[spelling], mail.address), to[spelling]))
    assert taken.results == ("new",)
    assert await post.suppressed() == {"lead+ford@example.com": "hard bounce 5.1.1"}


@pytest.mark.parametrize(
    "forge", ["no token", "random token", "another secret", "another purpose", "another domain", "one letter"]
)
async def test_a_forged_report_changes_nothing_and_is_kept_for_a_person(post: Post, forge: str) -> None:
    """Case 147: anybody can mail the bounce address."""
    mail = await sent_mail(post.client, "victim@example.com")
    ours = post.path(mail)
    token = to_local_part(sign(SECRETS, Purpose.UNSUBSCRIBE, bytes.fromhex(mail.lead_id.replace("-", "")) + b"1234"))
    to = {
        "no token": BASE,
        "random token": "bounce+k7f3@leads.example.com",
        "another secret": return_path(BASE, STRANGER, mail.lead_id, mail.email_id),
        "another purpose": f"bounce+{token}@leads.example.com",
        "another domain": ours.replace("@leads.", "@other."),
        "one letter": ours[:10] + ("b" if ours[10] == "a" else "a") + ours[11:],
    }[forge]
    taken = await post.intake.take(by_smtp(dsn(to, mail.address, original=headers_of(mail)), to))
    assert (taken.results, taken.kept) == (("unverified",), "unverified")
    assert await post.nothing_happened()
    assert await post.kept() == ["unverified"]


async def test_a_true_token_cannot_be_turned_against_another_address(post: Post) -> None:
    """Case 147: whoever got one mail of ours holds one token, and nothing follows for anybody else."""
    own = await sent_mail(post.client, "attacker@example.com")
    await sent_mail(post.client, "victim@example.com")
    taken = await post.intake.take(by_smtp(dsn(post.path(own), "victim@example.com"), post.path(own)))
    assert taken.kept == "other_address"
    assert await post.nothing_happened()


async def test_tokens_that_contradict_each_other_prove_nothing(post: Post) -> None:
    one, other = await sent_mail(post.client, "a@example.com"), await sent_mail(post.client, "b@example.com")
    raw = dsn(post.path(one), "b@example.com", original=headers_of(other, X_Leadstream_Mail=post.token(other)))
    assert (await post.intake.take(by_smtp(raw, post.path(one)))).kept == "unverified"
    assert await post.nothing_happened()


async def test_a_true_token_of_a_mail_that_is_gone_changes_nothing(post: Post) -> None:
    to = return_path(BASE, SECRETS, new_id(), new_id())
    assert (await post.intake.take(by_smtp(dsn(to, "s1@example.com"), to))).kept == "unknown_mail"
    assert await post.nothing_happened()


async def test_the_same_report_taken_twice_is_one_record(post: Post) -> None:
    """Case 152: a mailbox read again, or a mail server that comes again with other trace headers."""
    mail = await sent_mail(post.client)
    raw = dsn(post.path(mail), mail.address, status="4.2.2", diagnostic=None)
    assert (await post.intake.take(by_smtp(raw, post.path(mail)))).results == ("new",)
    again = Incoming(b"Received: from a by b\r\n" + raw, (post.path(mail),), "imap")
    assert (await post.intake.take(again)).results == ("repeated",)
    assert len(await post.told()) == 1
    assert await post.suppressed() == {}


async def test_without_a_message_id_the_bytes_name_the_report_whatever_their_line_ends(post: Post) -> None:
    """Cases 152 and 154."""
    mail = await sent_mail(post.client)
    raw = dsn(post.path(mail), mail.address, message_id="")
    variants = (raw, raw.replace(b"\r\n", b"\n"), raw.replace(b"\r\n", b"\r"))
    came = [(await post.intake.take(by_smtp(each, post.path(mail)))).results for each in variants]
    assert came == [("new",), ("repeated",), ("repeated",)]


async def test_a_delay_is_no_bounce(post: Post) -> None:
    """Case 130."""
    mail = await sent_mail(post.client)
    for action in ("delayed", "relayed", "expanded", "delivered"):
        raw = dsn(post.path(mail), mail.address, status="4.4.1", action=action, message_id=f"<{action}@mx>")
        await post.intake.take(by_smtp(raw, post.path(mail)))
    assert await post.nothing_happened()


async def test_nothing_is_invented_where_a_report_says_nothing(post: Post) -> None:
    """Case 131."""
    mail = await sent_mail(post.client)
    raw = dsn(post.path(mail), mail.address, status="4.2.2", diagnostic=None)
    await post.intake.take(by_smtp(raw, post.path(mail)))
    (told,) = await post.told()
    assert told.model_dump(exclude_defaults=True, include={"bounce_class", "code", "enhanced", "detail"}) == {
        "bounce_class": "soft",
        "enhanced": "4.2.2",
    }


async def test_a_dead_member_blocks_no_alias(post: Post) -> None:
    """Case 143: the mail went to the alias, the report is about somebody behind it."""
    mail = await sent_mail(post.client, "sales-team@example.com")
    alias = "Original-Recipient: rfc822; sales-team@example.com"
    raw = dsn(post.path(mail), "member7@example.net", per_recipient=alias)
    await post.intake.take(by_smtp(raw, post.path(mail)))
    assert await post.suppressed() == {}


@pytest.mark.parametrize("proof", ["return path", "header"])
async def test_a_complaint_without_a_recipient_is_matched_by_what_the_original_carries(post: Post, proof: str) -> None:
    """Case 148."""
    mail = await sent_mail(post.client)
    original = headers_of(mail)
    original |= {"Return-Path": f"<{post.path(mail)}>"} if proof == "return path" else {}
    original |= {"X-Leadstream-Mail": post.token(mail)} if proof == "header" else {}
    taken = await post.intake.take(by_smtp(complaint(ABUSE, original=original), ABUSE))
    assert taken.results == ("new",)
    assert await post.suppressed() == {"s1@example.com": "complaint abuse"}


async def test_a_redacted_complaint_suppresses_no_stranger(post: Post) -> None:
    """Case 149: found by what is left of the original, or by nobody."""
    mail = await sent_mail(post.client)
    redacted = {"To": "undisclosed-recipients:;", "Message-ID": mail.message_id}
    found = complaint(
        ABUSE, recipient="redacted@example.com", original=redacted | {"X-Leadstream-Mail": post.token(mail)}
    )
    lost = complaint(ABUSE, recipient="redacted@example.com", original={"To": "undisclosed-recipients:;"})
    assert (await post.intake.take(by_smtp(lost, ABUSE))).kept == "unverified"
    assert await post.nothing_happened()
    assert (await post.intake.take(by_smtp(found, ABUSE))).results == ("new",)
    assert await post.suppressed() == {"s1@example.com": "complaint abuse"}


@pytest.mark.parametrize(
    ("kind", "suppresses"),
    [
        *[(kind, True) for kind in ("abuse", "fraud", "opt-out", "brand-new-type")],
        *[(kind, False) for kind in ("not-spam", "auth-failure", "virus")],
    ],
)
async def test_each_kind_of_feedback_has_its_own_consequence(post: Post, kind: str, suppresses: bool) -> None:
    """Case 150."""
    mail = await sent_mail(post.client)
    original = headers_of(mail, X_Leadstream_Mail=post.token(mail))
    await post.intake.take(by_smtp(complaint(ABUSE, feedback_type=kind, original=original), ABUSE))
    assert bool(await post.suppressed()) is suppresses
    assert len(await post.told()) == suppresses
    assert await post.kept() == (["feedback"] if kind in ("virus", "auth-failure") else [])


async def test_no_address_of_a_report_reaches_the_log_of_events(post: Post) -> None:
    mail = await sent_mail(post.client)
    raw = dsn(
        post.path(mail), mail.address, diagnostic="smtp; 550 5.1.1 <s1@example.com>: unknown (was s1@example.com)"
    )
    await post.intake.take(by_smtp(raw, post.path(mail)))
    (told,) = await post.told()
    assert told.model_dump()["detail"] == "550 5.1.1 <***@example.com>: unknown (was ***@example.com)"
