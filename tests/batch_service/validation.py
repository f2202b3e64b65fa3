"""What a request body may hold, taken from the SDK's own models: names on the wire, types, what is required.

Values of enumerations are compared without case, numbers and truth values may be written as text (some clients
do), and a few properties of earlier api-versions stay welcome.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Callable
from datetime import datetime, timedelta
from enum import Enum
from functools import cache
from typing import Any, Union

from azure.batch import models
from azure.batch.models import _models

from tests.batch_service.errors import BatchError, invalid_property
from tests.batch_service.times import format_duration, parse_duration, parse_time

Check = Callable[[Any, str], Any]
"""the value as the service keeps it, from the value and where it was; raises BatchError"""

ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
DURATIONS = {
    "autoScaleEvaluationInterval",
    "maxWallClockTime",
    "recurrenceInterval",
    "resizeTimeout",
    "retentionTime",
    "startWindow",
}
SECRETS = ("password", "accountKey", "sasKey", "sshPrivateKey", "protectedSettings")
READ_ONLY_MODELS = {"BatchJob", "BatchJobSchedule", "BatchTask"}
"""bodies of PUT: clients send back what they got, so nothing the service fills in is required"""


def check_id(value: Any, name: str = "id") -> str:
    """An id of letters, digits, hyphens and underscores, at most 64."""
    if not isinstance(value, str) or not ID.fullmatch(value):
        raise invalid_property(name, value, "1 to 64 letters, digits, hyphens and underscores are allowed")
    return value


def check_body(body: dict[str, Any], model_name: str) -> None:
    """BatchError when `body` is no such model: unknown names, wrong types, missing properties."""
    shape(model_name)(body, "")
    _normalise(body)


def _normalise(value: Any) -> None:
    """Writes durations as the service does: PT06M00S comes back as PT6M."""
    if isinstance(value, list):
        for item in value:
            _normalise(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            if name in DURATIONS and isinstance(item, str):
                value[name] = format_duration(parse_duration(item))
            else:
                _normalise(item)


def hide(value: Any) -> None:
    """Takes secrets out of a body, however deep: the service tells them to nobody."""
    if isinstance(value, list):
        for item in value:
            hide(item)
    elif isinstance(value, dict):
        for name in SECRETS:
            value.pop(name, None)
        for item in value.values():
            hide(item)


@cache
def shape(model_name: str) -> Check:
    """The check of one SDK model; models may contain themselves, so members are looked up when needed."""
    model = getattr(models, model_name)
    model.__new__(model)
    names = {key: field._rest_name for key, field in model._attr_to_rest_field.items()}
    spaces = {"_models": types.SimpleNamespace(**{**vars(_models), **vars(models)})}
    hints = {
        names[key]: hint for key, hint in typing.get_type_hints(model, localns=spaces).items() if key in names
    }
    checks = {name: _check_of(hint) for name, hint in hints.items()}
    lenient = model_name in READ_ONLY_MODELS
    required = [name for name, hint in hints.items() if not lenient and type(None) not in typing.get_args(hint)]

    def check(value: Any, where: str) -> Any:
        if not isinstance(value, dict):
            raise BatchError("InvalidRequestBody", PropertyName=where, Reason="an object was expected")
        for name, item in value.items():
            known = checks.get(name) or OLDER.get(name)
            if known is None:
                _refuse_unknown(name, where)
            elif item is not None:
                value[name] = known(item, f"{where}/{name}" if where else name)
        for name in required:
            if value.get(name) is None:
                raise BatchError("MissingRequiredProperty", PropertyName=f"{where}/{name}" if where else name)
        return value

    return check


def _refuse_unknown(name: str, where: str) -> None:
    if "odata." in name:
        return
    path = f"{where}/{name}" if where else name
    reason = f"The property '{path}' does not exist; check its spelling and the api-version."
    raise BatchError("InvalidRequestBody", PropertyName=path, Reason=reason)


def _check_of(hint: Any) -> Check:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return _check_of_union([item for item in arguments if item is not type(None)])
    if origin is list:
        return _list_check(_check_of(arguments[0]))
    if isinstance(hint, type) and hint.__module__.startswith("azure.batch.models"):
        return lambda value, where: shape(hint.__name__)(value, where)
    return _SCALARS.get(hint, _anything)


def _check_of_union(members: list[Any]) -> Check:
    for member in members:
        if isinstance(member, type) and issubclass(member, Enum):
            return _enum_check({str(item.value).lower() for item in member})
    return _check_of(members[0])


def _anything(value: Any, _where: str) -> Any:
    return value


def _list_check(check: Check) -> Check:
    def check_list(value: Any, where: str) -> Any:
        if not isinstance(value, list):
            raise BatchError("InvalidRequestBody", PropertyName=where, Reason="a list was expected")
        return [check(item, where) for item in value]

    return check_list


def _enum_check(allowed: set[str]) -> Check:
    def check_enum(value: Any, where: str) -> Any:
        if not isinstance(value, str) or value.lower() not in allowed:
            raise invalid_property(where, value, f"allowed: {', '.join(sorted(allowed))}")
        return value

    return check_enum


def _text(value: Any, where: str) -> Any:
    if not isinstance(value, str):
        raise BatchError("InvalidRequestBody", PropertyName=where, Reason="a string was expected")
    return value


def _duration(value: Any, where: str) -> Any:
    try:
        parse_duration(value)
    except (ValueError, AttributeError, TypeError):
        raise invalid_property(where, value, "an ISO 8601 duration was expected") from None
    return value


def _moment(value: Any, where: str) -> Any:
    try:
        parse_time(value)
    except (ValueError, AttributeError, TypeError):
        raise invalid_property(where, value, "an ISO 8601 time was expected") from None
    return value


def _whole(value: Any, where: str) -> Any:
    """A whole number, also one that is written as text or as `2.0`."""
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?\d{1,18}\s*", value):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise BatchError("InvalidRequestBody", PropertyName=where, Reason="a whole number was expected")
    return value


def _number(value: Any, where: str) -> Any:
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?\d{1,18}(\.\d{1,18})?\s*", value):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BatchError("InvalidRequestBody", PropertyName=where, Reason="a number was expected")
    return value


def _truth(value: Any, where: str) -> Any:
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise BatchError("InvalidRequestBody", PropertyName=where, Reason="true or false was expected")
    return value


def _tags(value: Any, where: str) -> Any:
    """The description has them as an object of texts, but as one text where a pool is inside a job."""
    if "/" in where:
        return _text(value, where)
    if not isinstance(value, dict):
        raise BatchError("InvalidRequestBody", PropertyName=where, Reason="an object was expected")
    return {name: _text(item, f"{where}/{name}") for name, item in value.items()}


_COMMUNICATION = _enum_check({"default", "classic", "simplified"})
OLDER: dict[str, Check] = {
    "resourceTags": _tags,
    "targetNodeCommunicationMode": _COMMUNICATION,
    "currentNodeCommunicationMode": _COMMUNICATION,
    "authenticationTokenSettings": _anything,
    "certificateReferences": _list_check(_anything),
    "storageAccountType": _text,
}
"""properties that earlier api-versions had"""
_SCALARS: dict[Any, Check] = {
    str: _text,
    int: _whole,
    bool: _truth,
    float: _number,
    timedelta: _duration,
    datetime: _moment,
}


@cache
def fields_of(model_name: str) -> frozenset[str]:
    """The names that a filter or a selection over such models may begin with."""
    model = getattr(models, model_name)
    model.__new__(model)
    return frozenset(field._rest_name for field in model._attr_to_rest_field.values()).union(OLDER)


def check_range(body: dict[str, Any], name: str, low: int, high: int) -> None:
    """A number that must lie in a range, when it is there."""
    value = body.get(name)
    if value is not None and not low <= value <= high:
        raise invalid_property(name, value, f"allowed: {low} to {high}")
