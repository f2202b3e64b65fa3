"""Several requests under way, and no more made ready than that."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, Future, ThreadPoolExecutor, as_completed, wait
from typing import TypeVar

T = TypeVar("T")


def at_once(calls: Iterable[Callable[[], T] | None], threads: int) -> Iterator[T]:
    """What calls give, as they end; raises what one of them raises, after those that are under way.

    Calls are walked by the caller's thread, one further than there are threads. None is a call that waits until
    all before it have ended.
    """
    under_way: set[Future[T]] = set()
    with ThreadPoolExecutor(threads) as pool:
        for call in calls:
            if call is None or len(under_way) > threads:
                done, under_way = wait(under_way, return_when=FIRST_COMPLETED if call else ALL_COMPLETED)
                yield from (future.result() for future in done)
            if call:
                under_way.add(pool.submit(call))
        yield from (future.result() for future in as_completed(under_way))
