"""A table as it comes in, CSV or JSON Lines, and its rows; a broken row is known by its line."""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from indextts_app import errors
from indextts_app.synthesis import TEXT_FIELDS

NAME = "name"
"""The one column that is no field of a request: what its file is called in the archive."""

_COLUMNS = {
    "text": ("文本", "文字", "内容"),
    "speaker": ("发音人", "说话人", "音色"),
    "emotion": ("情感", "情绪"),
    "emotion_mode": ("情感模式",),
    "emotion_weight": ("情感权重",),
    "emotion_text": ("情感描述",),
    "speed": ("语速",),
    "format": ("格式",),
    "seed": ("种子", "随机种子"),
    "preset": ("预设",),
    NAME: ("名称", "文件名"),
}
"""The columns that have Chinese names; the engine's own controls go by their English ones."""

_MEANT = {name: field for field, names in _COLUMNS.items() for name in (field, *names)}

_SPREADSHEET = {"TRUE": "true", "FALSE": "false"}
"""What becomes of a switch that is typed into a cell of Excel."""

_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
"""How a file of Excel begins, of today (a zip archive) and of before 2007."""

_DELIMITERS = ",\t;，|"
_MAX_CELL_CHARS = 1_000_000


@dataclass(frozen=True, slots=True)
class Row:
    """One row, with the fields of its request, or why it has none."""

    line: int
    """Where it begins in the file, from 1."""
    fields: Mapping[str, object]
    name: str | None = None
    fault: tuple[str, str] | None = None
    """In English and Chinese."""


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of a file; `columns` are those that its header names, none where there is none."""

    rows: tuple[Row, ...]
    columns: tuple[str, ...] = ()


def read(data: bytes, *, max_rows: int) -> Table:
    """
    The rows of a CSV file with a header, or of JSON Lines.

    UTF-8 with or without its mark, UTF-16 with it, and GB18030, as Excel writes them; the delimiter
    of a CSV is found by its header. Empty rows are none.

    Raises:
        errors.BatchUnreadable: the file as a whole cannot be read.
        errors.BatchTooLong: it has more rows than may be.
    """
    text = _decoded(data)
    if text.lstrip()[:1] == "[":
        raise _unreadable(
            "it is a JSON list. Put each of its objects on a line of its own, without the list.",
            "这是 JSON 列表，请去掉列表，每行写一个对象。",
        )
    table = _json_lines(text) if text.lstrip()[:1] == "{" else _csv(text)
    rows: list[Row] = []
    for row in table.rows:
        if len(rows) == max_rows:
            raise errors.BatchTooLong(limit=max_rows)
        rows.append(row)
    if not rows:
        raise _unreadable("it has no rows.", "没有数据行。")
    return Table(tuple(rows), table.columns)


def of_objects(items: Sequence[object], *, max_rows: int) -> Table:
    """
    The rows of a list of objects, as JSON has them; the line of each is its place, from 1.

    Raises:
        errors.BatchTooLong, errors.BatchUnreadable: as for `read`.
    """
    if len(items) > max_rows:
        raise errors.BatchTooLong(limit=max_rows)
    if not items:
        raise _unreadable("it has no rows.", "没有数据行。")
    return Table(tuple(_object_row(place, item) for place, item in enumerate(items, start=1)))


def _decoded(data: bytes) -> str:
    if data.startswith(_WORKBOOKS):
        raise _unreadable(
            "it is an Excel workbook, or an archive. Save the table as CSV (UTF-8).",
            "这是 Excel 工作簿或压缩包，请把表格另存为 CSV（UTF-8）。",
        )
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encodings = ["utf-16"]
    else:
        encodings = ["utf-8-sig", "gb18030"]
    for encoding in encodings:
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise _unreadable(
        "its encoding is none of UTF-8, UTF-16 and GB18030. Save it as UTF-8.",
        "编码不是 UTF-8、UTF-16 或 GB18030，请另存为 UTF-8。",
    )


# --- JSON Lines ----------------------------------------------------------------------------------


def _json_lines(text: str) -> Table:
    return Table(
        tuple(
            _object_row(number, _parsed(line))
            # Lines as files have them: a string of JSON may hold other ends of line as they are.
            for number, line in enumerate(io.StringIO(text, newline=None), start=1)
            if line.strip()
        )
    )


class _Broken:
    """What stands for a line that is no JSON."""


def _parsed(line: str) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return _Broken()


def _object_row(line: int, item: object) -> Row:
    if isinstance(item, _Broken):
        return Row(line, {}, fault=("it is not JSON.", "不是 JSON。"))
    if not isinstance(item, dict):
        return Row(line, {}, fault=("it is JSON, but not an object.", "是 JSON，但不是对象。"))
    fields = {_MEANT.get(str(name), str(name)): value for name, value in item.items()}
    name = fields.pop(NAME, None)
    return Row(line, fields, name=None if name is None else str(name))


# --- CSV -----------------------------------------------------------------------------------------


def _csv(text: str) -> Table:
    csv.field_size_limit(_MAX_CELL_CHARS)
    header = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(_DELIMITERS, key=lambda one: _known(_cells(header, one)))
    rows = _numbered(list(io.StringIO(text, newline="")), delimiter)
    try:
        _, names = next(rows)
    except StopIteration:
        raise _unreadable("it is empty.", "文件为空。") from None
    columns = _columns([] if isinstance(names, str) else names)
    return Table(tuple(_csv_row(line, cells, columns) for line, cells in rows), columns)


def _cells(header: str, delimiter: str) -> list[str]:
    return next(csv.reader([header], delimiter=delimiter), [])


def _known(cells: Sequence[str]) -> int:
    return sum(cell.strip().lower() in _MEANT for cell in cells)


def _numbered(lines: Sequence[str], delimiter: str) -> Iterator[tuple[int, list[str] | str]]:
    """
    Each row that is not empty with its first line; why, for one that cannot be read.

    A quote that is not closed would take the rows behind it with it: they are read by themselves.
    """
    line = 1
    while line <= len(lines):
        before = line
        rest = map(lines.__getitem__, range(line - 1, len(lines)))
        reader = csv.reader(rest, delimiter=delimiter, strict=True)
        try:
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    yield line, cells
                line = before + reader.line_num
        except csv.Error as error:
            yield line, str(error)
            line += 1


def _columns(names: Sequence[str]) -> tuple[str, ...]:
    columns = tuple(_MEANT.get(name.strip().lower(), name.strip()) for name in names)
    if "text" not in columns:
        raise _unreadable(
            "its first line must name the columns, one of them 'text' (or 文本).",
            "首行须为列名，其中应有“文本”（或 text）。",
        )
    named = [name for name in columns if name]
    if len(set(named)) != len(named):
        raise _unreadable("two columns have the same meaning.", "有两列含义相同。")
    return columns


def _csv_row(line: int, cells: list[str] | str, columns: Sequence[str]) -> Row:
    if isinstance(cells, str):
        return Row(line, {}, fault=("its quotes do not fit.", "引号不成对。"))
    if any(cell.strip() for cell in cells[len(columns) :]):
        return Row(
            line,
            {},
            fault=(
                "it has more cells than the header. Put quotes around a text with delimiters.",
                "单元格多于列名。文本中含分隔符时请加引号。",
            ),
        )
    filled = {
        name: cell for name, cell in zip(columns, cells, strict=False) if name and cell.strip()
    }
    name = filled.pop(NAME, None)
    fields = {field: _value(field, cell) for field, cell in filled.items()}
    return Row(line, fields, name=None if name is None else name.strip())


def _value(field: str, cell: str) -> object:
    """A cell is text; of the fields that are not, what is JSON is taken as that."""
    if field == "text":
        return cell
    cell = cell.strip()
    if field in TEXT_FIELDS:
        return cell
    try:
        return json.loads(_SPREADSHEET.get(cell, cell))
    except (ValueError, RecursionError):
        return cell


def _unreadable(reason: str, reason_zh: str) -> errors.BatchUnreadable:
    return errors.BatchUnreadable(reason=reason, reason_zh=reason_zh)
