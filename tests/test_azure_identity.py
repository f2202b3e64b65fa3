"""Who we are to Azure: tokens of the default credential, over TLS, and pools that have an identity."""

from __future__ import annotations

import builtins
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
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
from tests.faulty_http import Answer, Faulty, Request, certificate
from tests.test_azure_nodepool import start_of
from tests.test_azure_settings import IDENTITY, KEY, LEAST, table

TOKEN = "a-token-that-must-never-be-seen"
IMAGE = Image(
    "i", {"publisher": "canonical", "offer": "o", "sku": "s", "version": "latest"}, "batch.node.ubuntu 24.04"
)


@dataclass
class Site:
    """A server of Azure's kinds, that keeps what it was asked."""

    url: str = ""
    asked: list[Request] = field(default_factory=list)
    answers: list[tuple[int, Any]] = field(default_factory=list)
    """given in turn; afterwards an empty object"""

    def rule(self, request: Request) -> Answer:
        self.asked.append(request)
        status, told = self.answers.pop(0) if self.answers else (200, {})
        return Answer(status, {"Content-Type": "application/json"}, json.dumps(told).encode())


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def secure(tls: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A service over TLS, on a machine whose managed identity gets tokens."""
    tokens, site = Site(), Site()
    tokens.answers = [(200, token())] * 9
    with Faulty(0, tokens.rule) as plain, Faulty(0, site.rule, tls) as port:
        site.url = f"https://127.0.0.1:{port}"
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{plain}/msi/token")
        monkeypatch.setenv("IDENTITY_HEADER", "x")
        monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "ManagedIdentityCredential")
        monkeypatch.setenv(credentials.CA_BUNDLE, str(tls[0]))
        monkeypatch.setenv(nodepool.ARM_VARIABLE, site.url)
        monkeypatch.delenv(credentials.BATCH_KEY, raising=False)
        credentials.default_credential.cache_clear()
        yield site
        credentials.default_credential.cache_clear()


def token() -> dict[str, str]:
    later = str(int(time.time()) + 3600)
    return {"access_token": TOKEN, "expires_on": later, "resource": "r", "token_type": "Bearer"}


def with_identity(**more: Any) -> CloudSettings:
    return read(table(identity=IDENTITY, identity_client_id="c", **more))


def asks(site: Site) -> Any:
    """What the adapter hears of a pool there."""
    return Batch(read(table(batch_url=site.url, batch_account="a")), backoff_seconds=0).get_pool("p")


def body_of(settings: CloudSettings) -> dict[str, Any]:
    return poolbody.pool_body(settings, start_of(), IMAGE, poolbody.scale(settings))


def test_the_default_credential_signs_requests_over_tls(secure: Site) -> None:
    secure.answers = [(200, {"id": "p", "state": "active"})]
    assert asks(secure)
    assert secure.asked[0].headers["Authorization"] == f"Bearer {TOKEN}"


def test_a_service_whose_certificate_nobody_knows_gets_no_token(
    secure: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(credentials.CA_BUNDLE)
    with pytest.raises(PoolError, match="CERTIFICATE_VERIFY_FAILED"):
        asks(secure)
    assert secure.asked == []


def test_a_refused_token_is_told_with_the_role_that_is_missing(secure: Site) -> None:
    message = {"lang": "en-US", "value": "Server failed to authorize the request."}
    secure.answers = [(403, {"code": "AuthorizationFailure", "message": message})]
    with pytest.raises(ServiceRefusal) as refused:
        asks(secure)
    assert "Azure Batch Data Contributor" in refused.value.hint
    assert TOKEN not in str(refused.value)


def test_without_any_credential_the_way_to_sign_in_is_told(
    secure: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "AzureCliCredential")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PoolError, match="No credentials") as refused:
        asks(secure)
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
    assert not queue._is_refused({"executionInfo": {"exitCode": exits.REFUSED}}), "nothing would be renewed"
    queue.close()


def test_a_pool_with_an_identity_is_made_through_the_management_plane(secure: Site) -> None:
    settings = with_identity(pool_id="farm")
    nodepool.create_with_identity(settings, "farm", body_of(settings))
    (asked,) = secure.asked
    assert asked.method == "PUT"
    assert asked.path.startswith(
        "/subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/farm-rg"
        "/providers/Microsoft.Batch/batchAccounts/myfarm/pools/farm?"
    )
    assert asked.headers["Authorization"] == f"Bearer {TOKEN}"
    assert json.loads(asked.body)["identity"]["userAssignedIdentities"] == {IDENTITY: {}}


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
