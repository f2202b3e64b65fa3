"""Troubles on order: what `POST /_control/…` switches on, and the places that ask whether to misbehave now."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from tests.batch_service.errors import BatchError
from tests.batch_service.state import Body, Node

DEFECTS = frozenset(
    {
        "failures_succeed",
        "retry_off_by_one",
        "dependencies_ignored",
        "no_auth",
        "outputs_lost",
        "select_ignored",
        "page_loses_items",
        "no_size_limit",
        "reactivate_status",
        "terminate_ends_queued",
    }
)
"""mistakes that a suite must notice"""
ENUMS = frozenset(
    {
        "state",
        "previousState",
        "allocationState",
        "schedulingState",
        "result",
        "category",
        "elevationLevel",
        "scope",
        "onAllTasksComplete",
        "onTaskFailure",
        "nodeFillType",
        "status",
        "jobAction",
        "dependencyAction",
        "taskState",
        "poolLifetimeOption",
        "uploadCondition",
        "verificationType",
        "osType",
    }
)
"""properties whose values are enumerations"""


@dataclass(slots=True)
class Rule:
    """A trouble for the next `count` requests whose `METHOD /path` matches; None for all."""

    kind: str
    match: re.Pattern[str]
    count: int | None
    options: dict[str, Any]
    met: int = 0


@dataclass(slots=True)
class StartTaskFault:
    pool: str | None
    node: str | None
    nth: int | None
    count: int | None
    seen: list[str] = field(default_factory=list)


class Faults:
    """All troubles of one service; `reset` makes it well again."""

    def __init__(self) -> None:
        self.defects: set[str] = set()
        self.requests: dict[str, int] = {}
        self.clear()

    def clear(self) -> None:
        self.defects.clear()
        self.rules: list[Rule] = []
        self.start_tasks: list[StartTaskFault] = []
        self.page_size: int | None = None
        self.quota: dict[str, int] = {}
        self.slow_nodes_seconds = 0.0
        """added to every resize and to a certificate's end, in the service's time"""
        self.enum_case = False
        self.partial_content = False
        self.stale_counts: dict[str, Body] | None = None
        self._resize_errors: dict[str, str] = {}

    def has_defect(self, name: str) -> bool:
        return name in self.defects

    def add_rule(self, kind: str, options: dict[str, Any]) -> None:
        """A rule from a control request: `match`, `count` and what the kind needs."""
        pattern = options.get("match") or ""
        try:
            match = re.compile(pattern, re.IGNORECASE)
        except re.error as error:
            raise BatchError("InvalidRequestBody", Reason=f"match is no pattern: {error}") from None
        self.rules.append(Rule(kind, match, options.get("count", 1), options))

    def take(self, kind: str, text: str) -> Rule | None:
        """The rule of this kind that fits, with one of its uses gone."""
        for rule in self.rules:
            if rule.kind == kind and rule.match.search(text):
                rule.met += 1
                if rule.count is not None and rule.met >= rule.count:
                    self.rules.remove(rule)
                return rule
        return None

    def denies(self, direction: str, text: str) -> bool:
        """Whether storage refuses this `download` or `upload`, as it does with an expired SAS."""
        return any(self.take(f"expired_sas:{kind}", text) for kind in (direction, "storage"))

    def fails_start_task(self, node: Node) -> bool:
        return any(self._hits(fault, node) for fault in list(self.start_tasks))

    def _hits(self, fault: StartTaskFault, node: Node) -> bool:
        if fault.pool is not None and fault.pool.lower() != node.pool.key:
            return False
        if fault.node is not None:
            return fault.node.lower() == node.key and self._use(fault)
        if node.key not in fault.seen:
            fault.seen.append(node.key)
        is_it = fault.nth is None or fault.seen.index(node.key) + 1 == fault.nth
        return is_it and self._use(fault)

    def _use(self, fault: StartTaskFault) -> bool:
        if fault.count is not None:
            fault.count -= 1
            if fault.count <= 0:
                self.start_tasks.remove(fault)
        return True

    def set_resize_error(self, pool: str, code: str | None) -> None:
        if code is None:
            self._resize_errors.pop(pool.lower(), None)
        else:
            self._resize_errors[pool.lower()] = code

    def resize_error(self, pool: str) -> str | None:
        return self._resize_errors.get(pool.lower()) or self._resize_errors.get("*")

    def dress(self, value: Any) -> Any:
        """The body as it goes out: with enumerations in capitals when that is asked for."""
        if not self.enum_case:
            return value
        if isinstance(value, list):
            return [self.dress(item) for item in value]
        if isinstance(value, dict):
            return {
                name: item.capitalize() if name in ENUMS and isinstance(item, str) else self.dress(item)
                for name, item in value.items()
            }
        return value
