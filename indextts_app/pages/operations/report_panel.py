"""A month's report inside the page, and where to download it from."""

from __future__ import annotations

from html import escape

from indextts_app.pages.operations.texts import say
from observability.reports.figures import Report
from observability.reports.html_page import html_page
from observability.reports.tables import TABLES


def report_panel(report: Report, language: str) -> str:
    """
    The report in a frame that runs nothing and reaches nothing, with its downloads above.

    Addresses are relative, for proxies that serve the page below another path.
    """
    stem, source = f"report/{report.month}", f"source={report.reconciliation.source}"
    files = {
        "HTML": f"{stem}.html?{source}&language={language}",
        "JSON": f"{stem}.json?{source}",
        "CSV (ZIP)": f"{stem}.zip?{source}",
        **{f"CSV: {name}": f"{stem}.csv?{source}&table={name}" for name in TABLES[:1]},
    }
    links = " ".join(
        f'<a href="{escape(address, quote=True)}" download>{escape(name)}</a>'
        for name, address in files.items()
    )
    title = escape(say("report_frame", language, month=report.month), quote=True)
    page = escape(html_page(report, language), quote=True)
    return (
        f'<p class="downloads"><span>{say("download", language)}</span> {links}</p>'
        f'<iframe class="report" title="{title}" sandbox="" srcdoc="{page}"></iframe>'
    )
