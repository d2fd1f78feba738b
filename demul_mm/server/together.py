"""Batching of calls that several threads make at once."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from itertools import islice
from typing import Generic, TypeVar

Item = TypeVar('Item')
Answer = TypeVar('Answer')


class Together(Generic[Item, Answer]):
    """Batches calls of several threads: those that come while a batch is answered are the next.

    A call alone is answered at once. One that fails is answered alone, and fails alone.

    Args:
        answer: gives an answer for each of some items; never called by two threads at once.
    """

    def __init__(self, answer: Callable[[list[Item]], Sequence[Answer]]) -> None:
        self._answer = answer
        self._turn = threading.Condition()
        self._busy = False
        self._waiting: list[tuple[list[Item], Future[list[Answer]]]] = []

    def __call__(self, items: Sequence[Item]) -> list[Answer]:
        """The answers for some items."""
        mine: Future[list[Answer]] = Future()
        with self._turn:
            self._waiting.append((list(items), mine))
            self._turn.wait_for(lambda: mine.done() or not self._busy)
            if mine.done():
                return mine.result()
            self._busy = True
            batch, self._waiting = self._waiting, []
        try:
            self._settle(batch)
        finally:
            with self._turn:
                self._busy = False
                self._turn.notify_all()
        return mine.result()

    def _settle(self, batch: Sequence[tuple[list[Item], Future[list[Answer]]]]) -> None:
        try:
            found = iter(self._answer([item for items, _ in batch for item in items]))
        except BaseException as error:  # nobody is to wait for ever
            if len(batch) == 1:
                batch[0][1].set_exception(error)
            else:
                for call in batch:
                    self._settle([call])
        else:
            for items, future in batch:
                future.set_result(list(islice(found, len(items))))
