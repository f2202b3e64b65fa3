"""Who we are to Azure: tokens of the default credential, over TLS, and pools that have an identity."""

from __future__ import annotations

import builtins
import json
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from azure.mgmt.batch import models

from renderfarm.depots.identity import Kept, TokenError
from renderfarm.errors import ConfigError, PoolError
from renderfarm.queues.azure import credentials, nodepool, poolbody
from renderfarm.queues.azure.batch import Batch
from renderfarm.queues.azure.images import Image
from renderfarm.queues.azure.on_node import exits
from renderfarm.queues.azure.queue import BatchQueue
from renderfarm.queues.azure.refusals import ServiceRefusal
from renderfarm.queues.azure.settings import CloudSettings, read
from tests.test_azure_nodepool import start_of
from tests.test_azure_settings import IDENTITY, KEY, LEAST, table

TOKEN = "a-token-that-must-never-be-seen"
IMAGE = Image(
    "i", {"publisher": "canonical", "offer": "o", "sku": "s", "version": "latest"}, "batch.node.ubuntu 24.04"
)


@dataclass
class Site:
    """A server of Azure's kinds, that keeps what it was asked: tokens over HTTP, everything else over TLS."""

    url: str = ""
    asked: list[tuple[str, str, dict[str, str], Any]] = field(default_factory=list)
    answers: list[tuple[int, Any]] = field(default_factory=list)
    """given in turn; afterwards an empty object"""


def serve(site: Site, context: ssl.SSLContext | None = None) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            site.asked.append((self.command, self.path, dict(self.headers), body))
            status, answer = site.answers.pop(0) if site.answers else (200, {})
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_PUT = do_GET  # noqa: N815 - the server's word

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    site.url = f"{'http' if context is None else 'https'}://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of this machine with its key in one file."""
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    make += [
        "-addext",
        "subjectAltName=DNS:localhost,IP:127.0.0.1",
        "-keyout",
        str(file),
        "-out",
        f"{file}.crt",
    ]
    subprocess.run(make, check=True, capture_output=True)
    file.write_text(file.read_text() + Path(f"{file}.crt").read_text())
    return file


@pytest.fixture
def secure(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A service over TLS, on a machine whose managed identity gets tokens."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    tokens, site = Site(), Site()
    servers = [serve(tokens), serve(site, context)]
    tokens.answers = [(200, token())] * 9
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{tokens.url}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", "x")
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "ManagedIdentityCredential")
    monkeypatch.setenv(credentials.CA_BUNDLE, str(certificate))
    monkeypatch.setenv(nodepool.ARM_VARIABLE, site.url)
    monkeypatch.delenv(credentials.BATCH_KEY, raising=False)
    credentials.default_credential.cache_clear()
    yield site
    credentials.default_credential.cache_clear()
    for server in servers:
        server.shutdown()
        server.server_close()


def token() -> dict[str, str]:
    later = str(int(time.time()) + 3600)
    return {"access_token": TOKEN, "expires_on": later, "resource": "r", "token_type": "Bearer"}


def with_identity(**more: Any) -> CloudSettings:
    return read(table(identity=IDENTITY, identity_client_id="c", **more))


def body_of(settings: CloudSettings) -> dict[str, Any]:
    return poolbody.pool_body(settings, start_of(), IMAGE, poolbody.scale(settings))


def test_the_default_credential_signs_requests_over_tls(secure: Site) -> None:
    secure.answers = [(200, {"id": "p", "state": "active"})]
    found = Batch(read(table(batch_url=secure.url, batch_account="a"))).get_pool("p")
    assert found is not None
    assert secure.asked[0][2]["Authorization"] == f"Bearer {TOKEN}"


def test_a_service_whose_certificate_nobody_knows_gets_no_token(
    secure: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(credentials.CA_BUNDLE)
    batch = Batch(read(table(batch_url=secure.url, batch_account="a")), backoff_seconds=0)
    with pytest.raises(PoolError, match="CERTIFICATE_VERIFY_FAILED"):
        batch.get_pool("p")
    assert secure.asked == []


def test_a_refused_token_is_told_with_the_role_that_is_missing(secure: Site) -> None:
    message = {"lang": "en-US", "value": "Server failed to authorize the request."}
    secure.answers = [(403, {"code": "AuthorizationFailure", "message": message})]
    with pytest.raises(ServiceRefusal) as refused:
        Batch(read(table(batch_url=secure.url, batch_account="a"))).get_pool("p")
    assert "Azure Batch Data Contributor" in refused.value.hint
    assert TOKEN not in str(refused.value)


def test_without_any_credential_the_way_to_sign_in_is_told(
    secure: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "AzureCliCredential")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PoolError, match="No credentials") as refused:
        Batch(read(table(batch_url=secure.url, batch_account="a")), backoff_seconds=0).get_pool("p")
    assert "az login" in refused.value.hint
    assert refused.value.transient, "who follows a job through the night goes on when there are some again"


def test_a_token_that_can_not_be_renewed_is_used_while_it_is_good() -> None:
    given = [("first", time.time() - 1)]

    def ask() -> tuple[str, float]:
        if not given:
            raise TokenError("nobody is there")
        return given.pop()

    tokens = Kept(ask)
    assert [tokens.get(), tokens.get()] == ["first", "first"]
    tokens.forget()
    with pytest.raises(TokenError):
        tokens.get()


def test_a_node_that_its_own_identity_does_not_let_in_costs_its_task_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RENDERFARM_BATCH_KEY", KEY)
    queue = BatchQueue(with_identity(pool_id="farm"))
    queue._ended({"id": "f0001", "executionInfo": {"exitCode": exits.REFUSED, "result": "failure"}})
    assert "f0001" in queue._untold
    assert not queue._refused, "nothing of it would be renewed"
    queue.close()


def test_a_pool_with_an_identity_is_made_through_the_management_plane(secure: Site) -> None:
    settings = with_identity(pool_id="farm")
    nodepool.create_with_identity(settings, "farm", body_of(settings))
    method, path, headers, body = secure.asked[0]
    assert method == "PUT"
    assert path.startswith(
        "/subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/farm-rg"
        "/providers/Microsoft.Batch/batchAccounts/myfarm/pools/farm?"
    )
    assert headers["Authorization"] == f"Bearer {TOKEN}"
    assert body["identity"]["userAssignedIdentities"] == {IDENTITY: {}}


@pytest.mark.parametrize("autoscale", [True, False])
def test_the_management_plane_knows_every_word_of_the_pool(autoscale: bool) -> None:
    settings = with_identity(
        autoscale=autoscale, container_image="farm.azurecr.io/render:1", network=LEAST.get("network")
    )
    given = poolbody.managed_body(settings, body_of(settings))
    assert unknown_words(models.Pool(given)) == []
    assert unknown_words(models.Pool(wrong(given))) == ["VirtualMachineConfiguration.nodeAgentSKUId"]


def wrong(body: dict[str, Any]) -> dict[str, Any]:
    """The pool with one word of the other plane, deep inside."""
    changed: dict[str, Any] = json.loads(json.dumps(body))
    machine = changed["properties"]["deploymentConfiguration"]["virtualMachineConfiguration"]
    machine["nodeAgentSKUId"] = machine.pop("nodeAgentSkuId")
    return changed


def unknown_words(model: Any) -> list[str]:
    """Keys that the SDK's models do not have, at any depth."""
    names = {part._rest_name: name for name, part in type(model)._attr_to_rest_field.items()}
    found = [f"{type(model).__name__}.{key}" for key in model if key not in names]
    for key in model:
        value = getattr(model, names[key]) if key in names else None
        for inner in value if isinstance(value, list) else [value]:
            if hasattr(inner, "_attr_to_rest_field"):
                found += unknown_words(inner)
    return found


def test_a_refusal_of_the_management_plane_is_told(secure: Site) -> None:
    error = {"code": "AuthorizationFailed", "message": "The client does not have authorization."}
    secure.answers = [(403, {"error": error})]
    settings = with_identity()
    with pytest.raises(ServiceRefusal, match="does not have authorization") as refused:
        nodepool.create_with_identity(settings, "farm", body_of(settings))
    assert refused.value.code == "AuthorizationFailed"


def test_without_the_extra_its_installation_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "azure.mgmt.batch":
            raise ImportError(name)
        return whole(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    settings = with_identity()
    with pytest.raises(PoolError, match="not installed") as refused:
        nodepool.create_with_identity(settings, "farm", {})
    assert "renderfarm[azure-management]" in refused.value.hint


def test_an_identity_needs_to_know_where_the_account_is() -> None:
    lost = replace(with_identity(), resource_group=None)
    with pytest.raises(ConfigError, match="resource_group"):
        nodepool.create_with_identity(lost, "farm", {})
