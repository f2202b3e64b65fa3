"""A pool that follows its work: nodes for what is pending, up to the maximum, and none when nothing is.

Every node is billed in every state, so a pool must come back to zero by itself, also when the client is gone.
"""

from __future__ import annotations

from datetime import datetime

INTERVAL_MINUTES = 5
"""how often the service evaluates a formula: its minimum"""
_ENOUGH_PERCENT = 70
"""of the samples of an interval; a young pool has fewer, and its last one has to do"""


def formula(
    maximum_spot: int,
    maximum_dedicated: int,
    slots_per_node: int = 1,
    *,
    awake: int = 0,
    until: datetime | None = None,
) -> str:
    """The autoscale formula of a pool: as many nodes as its queued and running tasks fill.

    Spot nodes come first; dedicated ones for what is beyond their maximum, and in place of preempted ones. A
    rise counts at once, a fall after some minutes. Nodes that leave finish their tasks first. `awake` nodes are
    wanted in any case until a moment, because the samples of tasks that were just added come late.
    """
    span = f"TimeInterval_Minute * {INTERVAL_MINUTES}"
    samples = f"$PendingTasks.GetSample({span})"
    few = f"$PendingTasks.GetSamplePercent({span}) < {_ENOUGH_PERCENT}"
    least = f'time() < time("{until:%Y-%m-%dT%H:%M:%SZ}") ? {awake} : 0' if until and awake else "0"
    return "\n".join(
        (
            f"least = {least};",
            "last = max(0, $PendingTasks.GetSample(1));",
            f"pending = {few} ? last : max(last, avg({samples}));",
            # Whole nodes, whether the service rounds or cuts: 1.0 to 1.99 are one.
            f"nodes = max(least, round((pending + {slots_per_node - 1}) / {slots_per_node} - 0.49));",
            f"spot = min({maximum_spot}, nodes);",
            "gone = max(0, $PreemptedNodeCount.GetSample(1));",
            "$TargetLowPriorityNodes = spot;",
            f"$TargetDedicatedNodes = min({maximum_dedicated}, nodes - spot + min(gone, spot));",
            "$NodeDeallocationOption = taskcompletion;",
        )
    )
