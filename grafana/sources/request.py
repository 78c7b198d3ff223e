"""One request, from the id that a user sent: its lines, its stages, and who was there with it."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models import dashboard as models

from grafana.sources.page import Language, Page, Row
from grafana.sources.panels import (
    PROMETHEUS,
    bars,
    grid,
    line_numbers,
    lines,
    log,
    words,
)
from grafana.sources.queries import RANGE
from observability.events import STAGES

APP = '{app="indextts"}'
FINISHED = '{app="indextts", event="synthesis.finished"}'
ID = '| request_id="$request_id"'

MOMENT_CHARACTERS = 7
"""
Of the 26 of a ULID. Its first ten are the milliseconds, five bits each: who shares seven began
within the same 32.8 s (2^15 ms). https://github.com/ulid/spec
"""

NEIGHBOURS = f'| request_id=~"${{moment}}.{{{26 - MOMENT_CHARACTERS}}}"'


def page(say: Language) -> Page:
    """Paste a request_id. The seven days shown are searched; the id itself tells the moment."""
    return Page(
        name="request",
        about=say(
            "Paste a request_id above. If nothing is found: check for a mistyped character, or "
            "show more days.",
            "在上方粘贴 request_id。查不到时请核对字符，或扩大时间范围。",
        ),
        since="now-7d",
        refresh="",
        rows=(
            Row(
                (
                    grid(
                        say("What is known of it", "已知信息"),
                        lines(f"{FINISHED} {ID}", limit=1),
                        transform=(
                            (
                                "extractFields",
                                {"source": "Line", "format": "json", "replace": True},
                            ),
                            ("transpose", {"firstFieldName": say("field", "字段")}),
                        ),
                    ),
                    bars(
                        say("Where its time went", "时间花在哪里"),
                        *(
                            line_numbers(_milliseconds(field), name)
                            for field, name in (
                                ("queue_ms", say("queue", "排队")),
                                *((f"stage_{stage}_ms", stage) for stage in STAGES),
                            )
                        ),
                        unit="ms",
                        about=say(
                            "Stages that it had; they add up to duration_ms.",
                            "仅含其实际经过的阶段，合计等于 duration_ms。",
                        ),
                    ),
                ),
                height=14,
                widths=(11, 13),
            ),
            Row(
                (log(say("Its lines", "它的日志行"), lines(f"{APP} {ID}"), pretty=True),),
                height=10,
            ),
            Row(
                (
                    log(
                        say("Neighbours: began in the same half minute", "同半分钟内开始的请求"),
                        lines(
                            f"{FINISHED} {NEIGHBOURS} | line_format `{{{{.request_id}}}} "
                            "{{.status}} {{.error_type}} {{.speaker}} {{.emotion}} "
                            "{{.duration_ms}} ms {{.instance}}`"
                        ),
                        about=say(
                            "A ULID tells its moment: those who share its first seven characters "
                            "began within the same 33 s.",
                            "ULID 自带时刻：前七位相同者在同一 33 秒内开始。",
                        ),
                    ),
                    bars(
                        say("How they went", "它们的结果"),
                        line_numbers(
                            f"sum by (status) (count_over_time({FINISHED} {NEIGHBOURS} [{RANGE}]))",
                            "{{status}}",
                        ),
                        unit="short",
                    ),
                    words(
                        say(
                            "More than this page knows: `scripts/request.py ID` or the service's "
                            "`/operations` tell the likely cause and what to do next, and take the "
                            "audio file itself.\n\nA request_id in lower case, or with O for 0, is "
                            "understood there; here it must be exact.",
                            "更多信息：`scripts/request.py 编号` 或服务的 `/operations` "
                            "会给出可能原因与下一步，也可直接用音频文件查询。\n\n"
                            "小写或把 0 写成 O 的编号在那里也能识别，此处须准确。",
                        )
                    ),
                ),
                height=9,
                widths=(13, 6, 5),
            ),
        ),
        variables=(
            dashboard.TextBoxVariable("request_id").label("request_id"),
            dashboard.QueryVariable("moment")
            .hide(models.VariableHide.HIDE_VARIABLE)
            .datasource(PROMETHEUS)
            .query({"query": _moment(), "refId": "moment"})
            .regex('/moment="([^"]+)"/')
            .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED),
        ),
    )


def _milliseconds(field: str) -> str:
    unwrapped = f'{FINISHED} {ID} | json took="{field}" | unwrap took | __error__=""'
    return f"max(max_over_time({unwrapped} [{RANGE}]))"


def _moment() -> str:
    """Grafana cannot cut a variable; Prometheus can, and is asked to."""
    given = 'label_replace(vector(1), "id", "$request_id", "job", ".*")'
    cut = f'label_replace({given}, "moment", "$1", "id", "(.{{{MOMENT_CHARACTERS}}}).*")'
    return f"query_result({cut})"
