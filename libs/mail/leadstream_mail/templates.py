"""Renders subject, text and HTML of a mail from minijinja templates.

A file in the user's folder replaces the file of the same name in the package, one by one. Every template is
rendered with sample leads when it is loaded, so that a mistake stops the start and not a mail. Values are escaped
in `.html` templates and never parsed as templates (case 024).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import minijinja

from leadstream_events.errors import ConfigurationError, Permanent
from leadstream_events.schemas.events import Kind
from leadstream_events.schemas.lead import Lead
from leadstream_mail.context import template_context
from leadstream_mail.sample import SAMPLE_LEAD, SAMPLE_TIME
from leadstream_mail.unsubscribe import SAMPLE_PATH

PACKAGE_FOLDER = Path(__file__).parent / "defaults"
SUFFIXES = ("subject.txt", "txt", "html")

_SAMPLES = (Lead(full_name="A", email="a@example.com"), SAMPLE_LEAD)
_LINK_BREAKS = str.maketrans({char: f"<span>{char}</span>" for char in ".:@/"})


@dataclass(frozen=True, slots=True)
class Rendered:
    """The three texts of one mail; the subject is one line."""

    subject: str
    text: str
    html: str


@dataclass(frozen=True, slots=True)
class Templates:
    """A checked set of templates. Build it with `load`."""

    environments: Mapping[str, minijinja.Environment]

    @classmethod
    def load(cls, folder: Path | None) -> Templates:
        """Returns the templates in force; ConfigurationError names the file and line of a broken one."""
        if folder is not None and not folder.is_dir():
            raise ConfigurationError(
                f"LEADSTREAM_TEMPLATES_DIR: {folder} is not a folder; create it or unset the setting"
            )
        return _checked(folder) if folder else packaged()

    def render(self, kind: Kind, context: Mapping[str, Any]) -> Rendered:
        """Returns the three texts; `Permanent` with the cause `template` if a template fails on this lead."""
        try:
            names = (f"{kind.value}.{suffix}" for suffix in SUFFIXES)
            subject, text, html = (self.environments[name].render_template(name, **context) for name in names)
        except minijinja.TemplateError as error:  # its text may hold values of the lead
            raise Permanent("template", f"{error.name} line {error.line}: {error.kind}") from None
        return Rendered(" ".join(subject.split()), text, html)


@cache
def packaged() -> Templates:
    """The package's own, which never change: what a parent has loaded its children need not load."""
    return _checked(None)


def _checked(folder: Path | None) -> Templates:
    templates = Templates(_environments(folder))
    for kind in Kind:
        for lead in _SAMPLES:
            url = "http://127.0.0.1:8000"
            context = template_context(kind, "sample", lead, SAMPLE_TIME, url, url + SAMPLE_PATH)
            for suffix in SUFFIXES:
                name = f"{kind.value}.{suffix}"
                _check(templates.environments[name], name, context, folder)
    return templates


def _environments(folder: Path | None) -> dict[str, minijinja.Environment]:
    """Where each template is rendered. The user's may write a value that is absent, as nothing; the package's write
    none, and asking about every value would take a third of their time."""
    own = _environment(None)
    users = _environment(folder, finalizer=_blank_if_none) if folder else own
    names = [f"{kind.value}.{suffix}" for kind in Kind for suffix in SUFFIXES]
    return {name: users if folder and (folder / name).is_file() else own for name in names}


def _environment(folder: Path | None, **options: Any) -> minijinja.Environment:
    environment = minijinja.Environment(
        loader=lambda name: _source(folder, name),
        undefined_behavior="strict",
        debug=False,
        trim_blocks=False,
        **options,
    )
    environment.add_filter("inert", inert)
    environment.add_filter("yes_no", _yes_no)
    return environment


def _source(folder: Path | None, name: str) -> str | None:
    if "/" in name or "\\" in name or name.startswith("."):
        return None
    for place in filter(None, (folder, PACKAGE_FOLDER)):
        path = place / name
        if path.is_file():
            try:
                return path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigurationError(f"{path} cannot be read as UTF-8 text: {type(error).__name__}") from None
    return None


def _check(environment: minijinja.Environment, name: str, context: Mapping[str, Any], folder: Path | None) -> None:
    try:
        environment.render_template(name, **context)
    except minijinja.TemplateError as error:
        if isinstance(error.__cause__, ConfigurationError):
            raise error.__cause__ from None
        at_fault = error.name or name
        path = folder / at_fault if folder is not None and (folder / at_fault).is_file() else at_fault
        raise ConfigurationError(f"{path}, line {error.line or 1}: {error.message}") from None


def inert(value: object) -> str:
    """Escapes a value for HTML so that no mail program makes a link of it, while the text stays the same.

    Automatic linking looks at unbroken text; every dot, colon, at sign and slash becomes an element of its own.
    """
    if value is None:
        return ""
    # None of the breaking characters occurs in what escaping makes of another one.
    return minijinja.safe(str(minijinja.escape(str(value))).translate(_LINK_BREAKS))


def _yes_no(value: object) -> object:
    return ("yes" if value else "no") if isinstance(value, bool) else value


def _blank_if_none(value: object) -> object:
    return "" if value is None else value
