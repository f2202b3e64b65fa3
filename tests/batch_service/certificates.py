"""The operations on certificates, which api-versions before 2024-07 have: kept and told, used for nothing."""

from __future__ import annotations

import re

from starlette.requests import Request
from starlette.responses import Response

from tests.batch_service.app_context import App
from tests.batch_service.errors import BatchError, invalid_property
from tests.batch_service.state import Body
from tests.batch_service.wire import answer, empty, json_body, made

REQUIRED = ("thumbprint", "thumbprintAlgorithm", "data")
DELETING_SECONDS = 3.0


async def add_certificate(app: App, request: Request) -> Response:
    body = json_body(await request.body())
    for name in REQUIRED:
        if not body.get(name):
            raise BatchError("MissingRequiredProperty", PropertyName=name)
    thumbprint, algorithm = str(body["thumbprint"]).lower(), str(body["thumbprintAlgorithm"])
    if algorithm.lower() != "sha1" or not re.fullmatch(r"[0-9a-f]{40}", thumbprint):
        raise invalid_property("thumbprint", thumbprint, "forty hexadecimal digits of sha1")
    if thumbprint in app.service.certificates:
        raise BatchError("CertificateExists")
    path = f"/certificates(thumbprintAlgorithm={algorithm},thumbprint={thumbprint})"
    own: Body = {"thumbprint": thumbprint, "thumbprintAlgorithm": algorithm, "url": app.service.base + path}
    own |= {"state": "active", "stateTransitionTime": app.service.clock.stamp()}
    app.service.certificates[thumbprint] = own
    return made(app.service, path, {})


async def list_certificates(app: App, _request: Request) -> Response:
    return answer(app.service, {"value": list(app.service.certificates.values())}, "certificates")


def _certificate(app: App, request: Request) -> Body:
    found = app.service.certificates.get(request.path_params["thumbprint"].lower())
    if found is None:
        raise BatchError("CertificateNotFound")
    return found


async def get_certificate(app: App, request: Request) -> Response:
    return answer(app.service, _certificate(app, request), "certificates/@Element")


async def delete_certificate(app: App, request: Request) -> Response:
    own = _certificate(app, request)
    if own["state"] == "deleting":
        raise BatchError("CertificateBeingDeleted")
    app.service.shift(own, "deleting")
    app.service.spawn(_delete(app, own["thumbprint"]))
    return empty(app.service, request, 202)


async def _delete(app: App, thumbprint: str) -> None:
    await app.service.clock.pause(DELETING_SECONDS + app.service.faults.slow_nodes_seconds)
    app.service.certificates.pop(thumbprint, None)


async def cancel_deletion(app: App, request: Request) -> Response:
    """Only for one whose deletion failed, which does not happen here."""
    state = _certificate(app, request)["state"]
    raise BatchError("CertificateStateActive" if state == "active" else "CertificateBeingDeleted")
