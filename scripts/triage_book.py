"""
Write loki/queries.md and queries.zh.md from loki/queries.yaml: scripts/triage_book.py

With --check nothing is written; exit status 1 says that they are not what the questions give.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).resolve().parents[1] / "loki"
FILES = {"en": FOLDER / "queries.md", "zh": FOLDER / "queries.zh.md"}

HEADS = {
    "en": """\
# Triage book

[中文](queries.zh.md) · English

What one asks of the log at three in the morning, with the LogQL that answers it: to be pasted \
into Grafana's *Explore*, or into `logcli query '…'` (`logcli instant-query` for numbers).

- Labels are few: `app`, `instance`, `level`, `event`, `filename`. All other names in a query are \
structured metadata (fast, see `promtail.yaml`) or come out of the line with `| json`.
- `level="error"` are the service's failures: failed, timeout, lost. `warning` are degraded and \
rejected; `info` are success and cancelled.
- Change the times in `[…]` as you need. `${…}` is what you know; an example stands below the query.
- One request by its id: ask for the ten minutes from the time in the id on; it takes \
milliseconds over any retention. `scripts/request.py ID` does so.
""",
    "zh": """\
# 排障手册

中文 · [English](queries.md)

凌晨三点向日志提出的问题，以及回答它们的 LogQL：可粘贴到 Grafana 的 Explore，或用 \
`logcli query '…'`（数值用 `logcli instant-query`）。

- 标签很少：`app`、`instance`、`level`、`event`、`filename`。查询中的其他名称是结构化元数据\
（快，见 `promtail.yaml`），或由 `| json` 从日志行取出。
- `level="error"` 为服务自身的失败：failed、timeout、lost；`warning` 为 degraded 与 rejected；\
`info` 为 success 与 cancelled。
- `[…]` 中的时间按需修改；`${…}` 为已知的值，示例见查询下方。
- 按编号查单个请求：时间范围取编号所含时间起十分钟，无论保留多久都只需毫秒；\
`scripts/request.py 编号` 即如此查询。
""",
}
EXAMPLE = {"en": "For example", "zh": "例如"}
KINDS = {
    "en": {"lines": "lines", "numbers": "numbers", "graph": "graph"},
    "zh": {"lines": "日志行", "numbers": "数值", "graph": "走势"},
}


def book() -> list[dict[str, Any]]:
    """The sections of the book as they stand in the YAML."""
    sections: list[dict[str, Any]] = yaml.safe_load(
        (FOLDER / "queries.yaml").read_text(encoding="utf-8")
    )["sections"]
    return sections


def render(language: str) -> str:
    """The book as Markdown."""
    return "\n".join(_rendered(book(), language))


def _rendered(sections: list[dict[str, Any]], language: str) -> Iterator[str]:
    yield HEADS[language]
    for section in sections:
        yield f"## {section[language]}\n"
        if note := section.get(f"note_{language}"):
            yield f"{note}\n"
        for question in section["questions"]:
            yield from _question(question, language)


def _question(question: Mapping[str, Any], language: str) -> Iterator[str]:
    kind = KINDS[language][question["kind"]]
    yield f"### {question[language]}\n"
    yield f"`{question['id']}` · {kind}\n"
    yield f"```logql\n{question['logql'].strip()}\n```\n"
    if known := question.get("where"):
        values = ", ".join(f"`${{{name}}}` = `{value}`" for name, value in known.items())
        yield f"{EXAMPLE[language]} {values}.\n"


def main() -> int:
    """Write the files, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    asked = parser.parse_args()
    rendered = {path: render(language) for language, path in FILES.items()}
    if asked.check:
        stale = [path for path, text in rendered.items() if path.read_text("utf-8") != text]
        for path in stale:
            print(f"{path} is not what queries.yaml gives: run scripts/triage_book.py")
        return int(bool(stale))
    for path, text in rendered.items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
