"""What strangers may call, as the OpenAPI document describes it: the links in mails, and what providers report."""

from __future__ import annotations

from typing import Any

from leadstream_api import limits
from leadstream_api.bodies import FORM, JSON, MULTIPART
from leadstream_api.openapi_paths import Json, answer, content, operation, path_parameter, problems
from leadstream_api.problems import MEDIA_TYPE
from leadstream_events.unsubscribe_rules import PAUSES_D, USUAL_PAUSE_D, Wish

TOKEN = path_parameter("token", "As the link in the mail has it; it does not expire")
_PAGE: Json = {"text/html": {"schema": {"type": "string"}}}
_TEXT: Json = {"text/plain; charset=utf-8": {"schema": {"type": "string"}}}
_FORM: Json = {
    "type": "object",
    "properties": {
        "List-Unsubscribe": {"type": "string", "enum": ["One-Click"], "description": "RFC 8058; counts before `wish`"},
        "wish": {"type": "string", "enum": [wish.value for wish in Wish]},
        "days": {"type": "string", "enum": [str(days) for days in PAUSES_D], "default": str(USUAL_PAUSE_D)},
    },
    "anyOf": [{"required": ["List-Unsubscribe"]}, {"required": ["wish"]}],
}


def too_many(text: str) -> Json:
    """The 429 of something that has no key."""
    return {
        "429": {
            "description": f"{text}; try again after `Retry-After` seconds",
            "headers": {"Retry-After": {"schema": {"type": "string"}, "description": "Seconds"}},
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    }


def with_pages(words: Json) -> Json:
    """Errors that are pages for whoever asks for HTML."""
    return {status: each | {"content": each["content"] | _PAGE} for status, each in words.items()}


_WEBHOOKS = {
    "ses": ("postSes", "Amazon SES, by SNS", "Signed by SNS (version 1 or 2), from a topic of `WEBHOOK_SES_TOPICS`."),
    "sendgrid": ("postSendgrid", "SendGrid's signed events", "ECDSA over timestamp and body, `WEBHOOK_SENDGRID_KEY`."),
    "mailgun": ("postMailgun", "Mailgun's events", "HMAC by `WEBHOOK_MAILGUN_KEY`; a signature is good for one body."),
    "postmark": ("postPostmark", "Postmark's events", "Basic or bearer credentials, `WEBHOOK_POSTMARK_TOKEN`."),
}


def _webhook(name: str, summary: str, proof: str) -> Json:
    words = problems(400, 404, 408, 409, 413, 503) | too_many("Too many wrong signatures")
    words["404"]["description"] = "This webhook is not set up"
    for status, text in (
        ("401", "The password is missing or wrong"),
        ("403", "The signature does not prove that this comes from the provider"),
        ("406", "The signature was used for something else before"),
    ):
        words[status] = {"description": text, "content": content(MEDIA_TYPE, "Problem")}
    return {
        "post": operation(
            name,
            f"Reports of a mail provider: {summary}",
            {"200": answer("Everything in it is recorded", "WebhookResults")} | words,
            description=f"{proof} Whatever is no bounce, complaint or wish of a recipient is left alone.",
            requestBody={
                "required": True,
                "description": f"At most {limits.WEBHOOK_BYTES} bytes, read as JSON whatever the content type says.",
                "content": {media: {"schema": {}} for media in (JSON, "text/plain")},
            },
        )
    }


def public_paths() -> dict[str, Any]:
    """Returns these `paths`."""
    done = {"200": {"description": "One click: done, also the second time", "content": _TEXT}}
    seen = {"303": {"description": "A form: done; leads back to the page"}}
    webhooks = {f"/webhooks/{name}": _webhook(*words) for name, words in _WEBHOOKS.items()}
    return webhooks | {
        "/unsubscribe/{token}": {
            "get": operation(
                "getUnsubscribe",
                "A page on which a subscriber pauses or ends his mails",
                {"200": {"description": "The page; it changes nothing by itself", "content": _PAGE}}
                | with_pages(problems(404, 503) | too_many("Too many wrong tokens")),
                parameters=[TOKEN],
            ),
            "post": operation(
                "postUnsubscribe",
                "Pause or end a subscriber's mails (RFC 8058)",
                done | seen | with_pages(problems(400, 404, 408, 409, 413, 415, 422, 503) | too_many("Too many tries")),
                description="The token is all that is asked for: no key, no cookie.",
                parameters=[TOKEN],
                requestBody={
                    "required": True,
                    "description": f"At most {limits.UNSUBSCRIBE_BYTES} bytes.",
                    "content": {media: {"schema": _FORM} for media in (FORM, MULTIPART)},
                },
            ),
        }
    }
