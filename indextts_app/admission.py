"""
Who is let in, and how many at a time.

A client has so many requests on their way at most; only what has a place may be worked on, and
there are as many places as workers and the queue together. A place is taken before a recording is
decoded, so that what is refused has cost next to nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from indextts_app import errors
from indextts_app.workers.interface import Pool


class Admission:
    """Counts; for the server's loop only, and none of it waits."""

    def __init__(
        self,
        pool: Pool,
        *,
        max_per_client: int,
        brake: Callable[[], errors.ServiceError | None] = lambda: None,
    ) -> None:
        """
        Args:
            pool: whose places they are.
            brake: what every request is refused with for now; None for nothing.
            max_per_client: requests at a time of one client; 0 for any number.
        """
        self._pool = pool
        self._brake = brake
        self._max_per_client = max_per_client
        self._of_client: Counter[str] = Counter()
        self._read_of_client: Counter[str] = Counter()
        self._placed = 0

    @property
    def placed(self) -> int:
        """Requests that have a place."""
        return self._placed

    def refusal(self) -> errors.ServiceError | None:
        """What one more request would be refused with at this moment; None if it had a place."""
        if error := self._brake():
            return error
        try:
            self._pool.check_open()
        except errors.NotReady as error:
            return error
        if self._placed >= self._pool.places:
            return errors.QueueFull(waiting=max(self._placed - self._pool.busy, 0))
        return None

    def client(self, client: str | None) -> AbstractContextManager[None]:
        """
        One more request of this client on its way, for as long as the block; None is not counted.

        Raises:
            errors.TooManyInFlight: it has as many as it may.
        """
        return self._one_more(self._of_client, client)

    def reading(self, client: str | None) -> AbstractContextManager[None]:
        """
        The same of a request that is still being read: who sends slowly has no more of them.

        Raises:
            errors.TooManyInFlight: so many of this client are being read already.
        """
        return self._one_more(self._read_of_client, client)

    @contextmanager
    def _one_more(self, of_client: Counter[str], client: str | None) -> Iterator[None]:
        if client is None or not self._max_per_client:
            yield
            return
        if of_client[client] >= self._max_per_client:
            raise errors.TooManyInFlight(limit=self._max_per_client)
        of_client[client] += 1
        try:
            yield
        finally:
            of_client[client] -= 1
            if not of_client[client]:
                del of_client[client]

    @contextmanager
    def place(self) -> Iterator[None]:
        """
        A place in the queue or at a worker, for as long as the block.

        Raises:
            errors.QueueFull: there is none.
            errors.NotReady: no worker can be had.
        """
        if refusal := self.refusal():
            raise refusal
        self._placed += 1
        try:
            yield
        finally:
            self._placed -= 1
