"""What `doctor --dns` makes of the sending domain's records: SPF (RFC 7208), DKIM (RFC 6376), DMARC (RFC 7489). Pure.

An answer is the list of a name's TXT records, each with its strings joined; None when DNS did not answer.
"""

from __future__ import annotations

from collections.abc import Sequence

from leadstream_cli.doctor_checks import Finding, Verdict

Answer = Sequence[str] | None
_SILENT = "DNS did not answer, so it was not checked"


def spf(domain: str, answer: Answer) -> Finding:
    """Whether the domain of the envelope sender says who may send for it."""
    check = "dns spf"
    if answer is None:
        return Finding(check, Verdict.NOTE, f"{domain}: {_SILENT}", "ask again, or give --dns-server")
    found = [text for text in answer if text.lower() == "v=spf1" or text.lower().startswith("v=spf1 ")]
    if not found:
        mend = f'publish for {domain}: TXT "v=spf1 ip4:<address of your SMTP server> -all"'
        return Finding(check, Verdict.PROBLEM, f"{domain} has no SPF record", mend)
    if len(found) > 1:
        text = f"{domain} has {len(found)} SPF records, which counts as none (RFC 7208 section 4.5)"
        return Finding(check, Verdict.PROBLEM, text, "join them into one record")
    terms = found[0].lower().split()
    if "all" in terms or "+all" in terms:
        return Finding(check, Verdict.PROBLEM, f"{domain}: {found[0]} lets everybody send", "end the record with -all")
    if not any(term.endswith("all") and term[:1] in "-~?" for term in terms) and "redirect=" not in found[0].lower():
        return Finding(check, Verdict.NOTE, f"{domain}: {found[0]} says nothing of others", "end the record with -all")
    return Finding(check, Verdict.OK, f"{domain}: {found[0]}")


def dmarc(domain: str, answer: Answer) -> Finding:
    """Whether the domain of From says what to do with forgeries; large receivers ask for it."""
    check = "dns dmarc"
    if answer is None:
        return Finding(check, Verdict.NOTE, f"_dmarc.{domain}: {_SILENT}", "ask again, or give --dns-server")
    found = [text for text in answer if text.replace(" ", "").lower().startswith("v=dmarc1")]
    if len(found) != 1:
        what = "no" if not found else f"{len(found)}"
        mend = f'publish one for _dmarc.{domain}: TXT "v=DMARC1; p=none; rua=mailto:<where reports go>"'
        return Finding(check, Verdict.PROBLEM, f"_dmarc.{domain} has {what} DMARC record{'s' if found else ''}", mend)
    if tags(found[0]).get("p", "").lower() not in ("none", "quarantine", "reject"):
        return Finding(check, Verdict.PROBLEM, f"_dmarc.{domain}: {found[0]}", "give it p=none, quarantine or reject")
    return Finding(check, Verdict.OK, f"_dmarc.{domain}: {found[0]}")


def dkim(name: str, answer: Answer, record: str, zone_line: str) -> Finding:
    """Whether the key that signs is the one that is published at `name`."""
    check = "dns dkim"
    if answer is None:
        return Finding(check, Verdict.NOTE, f"{name}: {_SILENT}", "ask again, or give --dns-server")
    wanted = tags(record)
    found = [tags(text) for text in answer if "p=" in text]
    if any(each.get("p") == wanted["p"] and each.get("k", "rsa") == wanted["k"] for each in found):
        return Finding(check, Verdict.OK, f"{name} holds the {wanted['k']} key that signs")
    what = f"{name} has no DKIM record"
    if any(not each.get("p") for each in found):
        what = f"{name} says that the key is revoked"
    elif found:
        what = f"{name} holds another key than the one that signs"
    return Finding(check, Verdict.PROBLEM, what, f"publish: {zone_line}")


def unsigned() -> Finding:
    """Mails go out without a signature."""
    mend = "leadstream dkim new-key FILE --selector NAME, unless the SMTP server signs"
    return Finding("dns dkim", Verdict.NOTE, "mails are not signed here: no LEADSTREAM_DKIM_SELECTOR", mend)


def tags(record: str) -> dict[str, str]:
    """The tags of a record (RFC 6376 section 3.2), without the blanks that may stand in their values."""
    pairs = (part.partition("=") for part in record.split(";") if "=" in part)
    return {name.strip().lower(): "".join(value.split()) for name, _, value in pairs}
