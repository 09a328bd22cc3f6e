"""The parts of the overview that change while one looks: each a template of its own, for page and stream alike."""

from __future__ import annotations

from collections.abc import Mapping

from leadstream_api.dashboard.pages import templates
from leadstream_api.dashboard.state import Overview
from leadstream_api.dashboard.viewer import plain


def regions(overview: Overview, *, pii: bool) -> Mapping[str, str]:
    """Region name to HTML. While Redis is away only the banner changes: what was shown stays, and is said to be old."""
    render = templates().render_template
    out = {"banner": render("parts/banner.html", o=overview)}
    if overview.flow is None:
        return out
    out["badge"] = render("parts/badge.html", open_letters=overview.open_letters)
    for name in ("meters", "flow"):
        out[name] = render(f"parts/{name}.html", o=overview)
    for bucket, drawn in overview.charts.items():
        out[f"chart-{bucket}"] = render("parts/chart.html", chart=drawn)
    out["latest"] = render("parts/latest.html", leads=plain(overview.latest, pii=pii))
    return out
