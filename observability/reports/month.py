"""A calendar month in UTC, and the text that names one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

FIRST_YEAR, LAST_YEAR = 1970, 9998
"""No log has older or later lines, and the month before and the one after have to be dates too."""


class MonthError(ValueError):
    """A month that is none; one sentence in each language says what would be."""

    def __init__(self, text: str) -> None:
        shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:40])
        self.en = f'"{shown}" is no month. Write the year and the month, such as 2026-10.'
        self.zh = f"“{shown}”不是月份，请写成年-月，例如 2026-10。"
        super().__init__(self.en)


@dataclass(frozen=True, slots=True, order=True)
class Month:
    """A calendar month in UTC."""

    year: int
    number: int

    @classmethod
    def parse(cls, text: str) -> Month:
        """
        The month that `YYYY-MM` names.

        Raises:
            MonthError: it names none.
        """
        try:
            if len(text) != len("2026-10") or not text.isascii():
                raise ValueError
            first = date.fromisoformat(f"{text}-01")
            if not FIRST_YEAR <= first.year <= LAST_YEAR:
                raise ValueError
        except ValueError:
            raise MonthError(text) from None
        return cls(first.year, first.month)

    @classmethod
    def before_now(cls, now: datetime) -> Month:
        """The last month that is over."""
        return cls(now.year, now.month).before

    @property
    def before(self) -> Month:
        """The month before."""
        return Month(self.year - 1, 12) if self.number == 1 else Month(self.year, self.number - 1)

    @property
    def since(self) -> datetime:
        """Its first moment."""
        return datetime(self.year, self.number, 1, tzinfo=UTC)

    @property
    def until(self) -> datetime:
        """The first moment after it."""
        if self.number == 12:
            return datetime(self.year + 1, 1, 1, tzinfo=UTC)
        return datetime(self.year, self.number + 1, 1, tzinfo=UTC)

    @property
    def days(self) -> tuple[date, ...]:
        """Its days."""
        count = (self.until - self.since).days
        return tuple(self.since.date() + timedelta(days=day) for day in range(count))

    def __str__(self) -> str:
        return f"{self.year:04}-{self.number:02}"
