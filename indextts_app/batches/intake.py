"""Whether a table can be taken: what is wrong with all of it is told before its first row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from indextts_app import errors
from indextts_app.batches import table
from indextts_app.batches.table import Table
from indextts_app.engines.base import Capabilities
from indextts_app.settings import Settings
from indextts_app.synthesis import offered, validated


def read(data: bytes | None, rows: object, settings: Settings) -> Table:
    """
    The table in a file, or else in a list of objects.

    Raises:
        errors.BatchUnreadable, errors.BatchTooLong: see `table.read`.
    """
    if data is not None:
        return table.read(data, max_rows=settings.max_batch_rows)
    if isinstance(rows, list):
        return table.of_objects(rows, max_rows=settings.max_batch_rows)
    raise errors.BatchUnreadable(
        reason="there is none. Send a file as 'file' in a form, or a JSON list as 'rows'.",
        reason_zh="没有表格。请用表单的 file 上传文件，或以 JSON 列表 rows 发送。",
    )


def check(columns: Sequence[str], defaults: Mapping[str, object], can: Capabilities) -> None:
    """
    Refuse what would refuse every single row.

    Raises:
        errors.BatchUnreadable: a column has a name that the engine in use does not know.
        errors.UnknownField: a field for all rows has.
        errors.UnknownChoice, errors.SpeedOutOfRange: no row could ever have this value of it.
    """
    known = (*offered(can), table.NAME)
    for place, name in enumerate(columns, start=1):
        if name and name not in known:
            raise errors.BatchUnreadable(
                reason=f"column {place} has an unknown name. Known are: {', '.join(known)}.",
                reason_zh=f"第 {place} 列的列名未知，可用：{', '.join(known)}。",
            )
    if set(defaults) - set(known):
        raise errors.UnknownField(known=", ".join(known))
    alone = {name: value for name, value in defaults.items() if name != table.NAME}
    text = can.self_test_text
    try:
        validated({**alone, "text": text}, can, max_text_chars=len(text))
    except (errors.UnknownChoice, errors.SpeedOutOfRange):
        raise
    except errors.InvalidField:
        # It may fit with what the rows themselves name.
        return
