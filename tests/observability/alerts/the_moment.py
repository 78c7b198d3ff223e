"""When the tests of alerts take place."""

from datetime import UTC, datetime

NOW = datetime(2026, 11, 28, 3, 0, tzinfo=UTC)


class Clock:
    """Stands still until it is moved."""

    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now
