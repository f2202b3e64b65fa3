"""The properties of each kind of resource, as the SDK names them: what $filter and $select may ask for."""

from __future__ import annotations

from functools import cache

from azure.batch import models

_MODELS = {
    "pools": "BatchPool",
    "nodes": "BatchNode",
    "extensions": "BatchNodeVMExtension",
    "jobs": "BatchJob",
    "jobschedules": "BatchJobSchedule",
    "jobpreparationandreleasetaskstatuslist": "BatchJobPreparationAndReleaseTaskStatus",
    "tasks": "BatchTask",
    "files": "BatchNodeFile",
    "poolnodecounts": "BatchPoolNodeCounts",
    "listsupportedimages": "BatchSupportedImage",
}


@cache
def properties_of(fragment: str) -> frozenset[str] | None:
    """Their names on the wire, for the fragment that follows `$metadata#`; None for what has no model here."""
    name = _MODELS.get(fragment)
    if name is None:
        return None
    model = getattr(models, name)
    model.__new__(model)
    return frozenset(field._rest_name for field in model._attr_to_rest_field.values())
