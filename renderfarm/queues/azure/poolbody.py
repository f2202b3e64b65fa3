"""What a pool of nodes is, in the words of Batch: JSON bodies, nothing is sent from here.

Every node is billed in every state, so a pool must come back to zero by itself, also when the client is gone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Any

from renderfarm.queues.azure.batch import OURS, Json, marks, named
from renderfarm.queues.azure.images import Image
from renderfarm.queues.azure.settings import CloudSettings
from renderfarm.queues.azure.start_task import StartTask
from renderfarm.words.as_json import read_json

RESIZE_TIMEOUT = "PT15M"
INTERVAL_MINUTES = 5
"""how often the service evaluates a formula: its minimum"""
AWAKE = timedelta(minutes=10)
"""how long the nodes that a submit asks for stay wanted while samples of its tasks come in"""
_ENOUGH_PERCENT = 70
"""of the samples of an interval; a young pool has fewer, and its last one has to do"""
_ADMIN = {"autoUser": {"scope": "Pool", "elevationLevel": "Admin"}}
"""who runs the start task, as the management plane spells it"""


@dataclass(frozen=True)
class Mark:
    """What a pool of ours says about itself in its metadata."""

    version: str = ""
    start: str = ""
    """fingerprint of the start task"""
    renderers: tuple[str, ...] = ()
    image: str = ""


def metadata(start: StartTask, image: str) -> list[Json]:
    """The mark of a pool with this start task, as pool metadata."""
    found = Mark(version("renderfarm"), start.fingerprint, start.renderers, image)
    return named({OURS: json.dumps(vars(found))})


def mark_of(items: Any) -> Mark | None:
    """The mark in a pool's metadata; None for pools of others."""
    text = marks(items).get(OURS)
    try:
        return None if text is None else read_json(Mark, text)
    except ValueError:
        return Mark()


def pool_body(settings: CloudSettings, start: StartTask, image: Image, scale: Mapping[str, Any]) -> Json:
    """A pool, or what an auto pool is made by when it lives (without its id)."""
    return {
        "vmSize": settings.vm_size,
        "virtualMachineConfiguration": _machine(settings, image),
        "taskSlotsPerNode": settings.slots_per_node,
        # Filled nodes let the others go when work ends.
        "taskSchedulingPolicy": {"nodeFillType": "pack" if settings.autoscale else "spread"},
        "startTask": start.body,
        "metadata": metadata(start, image.name),
        **({"networkConfiguration": {"subnetId": settings.network}} if settings.network else {}),
        **scale,
    }


def scale(settings: CloudSettings, *, nodes: int | None = None, awake: int = 0) -> Json:
    """How large a pool is: by formula up to `nodes` (default: as configured), or fixed.

    A formula keeps `awake` nodes at least for a while, because samples of new tasks come late.
    """
    spot, dedicated = shares(settings, settings.nodes if nodes is None else nodes)
    if not settings.autoscale:
        return {
            "targetDedicatedNodes": dedicated,
            "targetLowPriorityNodes": spot,
            "resizeTimeout": RESIZE_TIMEOUT,
        }
    least, until = min(awake, settings.nodes), datetime.now(UTC) + AWAKE
    return {
        "enableAutoScale": True,
        "autoScaleFormula": formula(spot, dedicated, settings.slots_per_node, awake=least, until=until),
        "autoScaleEvaluationInterval": f"PT{INTERVAL_MINUTES}M",
    }


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


def shares(settings: CloudSettings, nodes: int) -> tuple[int, int]:
    """Spot and dedicated nodes among so many: spot first, without changing who may be dedicated."""
    if not settings.spot:
        return 0, nodes
    spot = min(nodes, settings.maximum_spot) if nodes <= settings.nodes else nodes - settings.maximum_dedicated
    return spot, nodes - spot


def _machine(settings: CloudSettings, image: Image) -> Json:
    body: Json = {"imageReference": image.reference, "nodeAgentSKUId": image.agent}
    if image.extensions:
        body["extensions"] = list(image.extensions)
    if settings.container_image:
        body["containerConfiguration"] = _containers(settings, settings.container_image)
    return body


def _containers(settings: CloudSettings, image: str) -> Json:
    """Fetches the image when a node starts; from a registry in Azure with the pool's identity."""
    body: Json = {"type": "dockerCompatible", "containerImageNames": [image]}
    registry = image.split("/", 1)[0]
    if settings.identity and registry.endswith(".azurecr.io"):
        identity = {"resourceId": settings.identity}
        body["containerRegistries"] = [{"registryServer": registry, "identityReference": identity}]
    return body


def managed_body(settings: CloudSettings, body: Mapping[str, Any]) -> Json:
    """The same pool in the words of the management plane, with the identity that only it can give."""
    machine = dict(body["virtualMachineConfiguration"])
    agent, reference = machine.pop("nodeAgentSKUId"), dict(machine["imageReference"])
    containers = machine.get("containerConfiguration")
    if "virtualMachineImageId" in reference:
        reference = {"id": reference["virtualMachineImageId"]}
    machine |= {"nodeAgentSkuId": agent, "imageReference": reference}
    machine |= {"containerConfiguration": {**containers, "type": "DockerCompatible"}} if containers else {}
    same = ("vmSize", "taskSlotsPerNode", "metadata", "networkConfiguration")
    return {
        "identity": {"type": "UserAssigned", "userAssignedIdentities": {settings.identity: {}}},
        "properties": {
            **{key: body[key] for key in same if key in body},
            "taskSchedulingPolicy": {"nodeFillType": body["taskSchedulingPolicy"]["nodeFillType"].title()},
            "startTask": {**body["startTask"], "userIdentity": _ADMIN},
            "deploymentConfiguration": {"virtualMachineConfiguration": machine},
            "scaleSettings": _managed_scale(body),
        },
    }


def _managed_scale(body: Mapping[str, Any]) -> Json:
    if body.get("enableAutoScale"):
        interval = body["autoScaleEvaluationInterval"]
        return {"autoScale": {"formula": body["autoScaleFormula"], "evaluationInterval": interval}}
    keys = ("targetDedicatedNodes", "targetLowPriorityNodes", "resizeTimeout")
    return {"fixedScale": {key: body[key] for key in keys}}
