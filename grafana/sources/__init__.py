"""
The dashboards as code: one module each, built with Grafana's own SDK into `grafana/dashboards/`.

`scripts/build_dashboards.py` writes the files; a test holds them equal to what these modules make.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from grafana.sources import failures, overview, request, resources, speakers, stages, usage
from grafana.sources.page import LANGUAGES, Language, Page

DASHBOARDS = Path(__file__).parents[1] / "dashboards"

PAGES: tuple[Callable[[Language], Page], ...] = (
    overview.page,
    stages.page,
    speakers.page,
    failures.page,
    request.page,
    usage.page,
    resources.page,
)


def build() -> dict[Path, str]:
    """The JSON of every dashboard in every language, by its path below `grafana/dashboards/`."""
    built = {}
    for code in LANGUAGES:
        for make in PAGES:
            page = make(say := Language(code))
            built[Path(code) / f"{page.name}.json"] = page.build(say)
    return built
