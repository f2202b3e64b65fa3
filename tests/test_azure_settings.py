"""What a `[pools.NAME]` table of type azure-batch may say, and which credentials are used with it."""

from __future__ import annotations

import base64
import io
import logging
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from renderfarm.errors import ConfigError
from renderfarm.queues.azure import clouds, credentials
from renderfarm.queues.azure.settings import CloudSettings, HourlyPrice, read
from renderfarm.settings import config
from renderfarm.settings.pool import POOLS, PoolConfig
from tests.trusting import trusted

LEAST = {
    "batch_url": "https://myfarm.westeurope.batch.azure.com",
    "storage_url": "https://mystore.blob.core.windows.net",
    "vm_size": "Standard_D8ads_v6",
}
LOCAL = {**LEAST, "batch_url": "http://127.0.0.1:1", "batch_account": "myfarm"}
IDENTITY = (
    "/subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/farm-rg"
    "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/nodes"
)
SUBNET = "/subscriptions/1/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v/subnets/s"
AZURITE = "http://127.0.0.1:10000/devstoreaccount1"
KEY = base64.b64encode(b"a key that must never be seen").decode()


def table(**more: Any) -> PoolConfig:
    return PoolConfig("cloud", "azure-batch", {**LEAST, **more})


def without(key: str) -> PoolConfig:
    return PoolConfig("cloud", "azure-batch", {k: v for k, v in LEAST.items() if k != key})


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, {"pool_id": "renderfarm", "nodes": 10, "spot": True, "autoscale": True}),
        ({}, {"batch_account": "myfarm", "storage_account": "mystore"}),
        ({"storage_url": f"{AZURITE}/"}, {"storage_account": "devstoreaccount1", "storage_url": AZURITE}),
        ({"batch_account": "other"}, {"batch_account": "other"}),
        ({"renderer": "distribution"}, {"renderer": ("distribution",)}),
        ({"dedicated_nodes": 3}, {"maximum_spot": 7, "maximum_dedicated": 3}),
        ({"spot": False}, {"maximum_spot": 0, "maximum_dedicated": 10}),
        ({"price_per_node_hour": 1}, {"price_per_node_hour": HourlyPrice(1, 1)}),
        (
            {"price_per_node_hour": {"spot": 0.1, "dedicated": 0.5}},
            {"price_per_node_hour": HourlyPrice(0.1, 0.5)},
        ),
        (
            {"identity": IDENTITY, "identity_client_id": "c", "network": SUBNET},
            {"subscription": "11111111-2222-3333-4444-555555555555", "resource_group": "farm-rg"},
        ),
    ],
)
def test_what_a_table_says_and_does_not_say_is_read(given: Any, found: Any) -> None:
    settings = read(table(**given))
    assert {key: getattr(settings, key) for key in found} == found


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"batch_url": "http://localhost:8080"}, "has no batch_account"),
        ({"storage_url": "http://192.168.0.7:10000/devstoreaccount1"}, "https://"),
        ({"nodes": 2, "dedicated_nodes": 3}, "more than nodes = 2"),
        ({"identity": IDENTITY}, "az identity show"),
        ({"identity": IDENTITY, "identity_client_id": "c", "auto_pool": True}, "auto_pool"),
        ({"image": "/subscriptions/1/resourceGroups/g/providers/Microsoft.Compute/images/i"}, "node_agent"),
        ({"batch_url": "https://f.blob.core.windows.net"}, "none of Azure's hosts"),
    ],
)
def test_keys_that_do_not_fit_together_are_refused(given: Any, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        read(table(**given))


@pytest.mark.parametrize("key", sorted(LEAST))
def test_a_missing_key_is_named_with_its_table_and_an_example(key: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read(without(key))
    assert f"[pools.cloud] has no {key}" in refused.value.message
    assert f"{key} = " in refused.value.hint


WRONG: dict[str, tuple[object, ...]] = {
    "nodes": ("ten", 0, True, 2.5),
    "dedicated_nodes": (-1,),
    "slots_per_node": (257,),
    "spot": ("yes",),
    "autoscale": (1,),
    "after": ("burn",),
    "vm_size": ("Standard D8", ""),
    "pool_id": ("my pool", "x" * 65),
    "prefix": ("My_Prefix", "a--b", "a" * 21),
    "image": ("ubuntu",),
    "network": ("my-subnet",),
    "identity": ("nodes",),
    "renderer": ([1],),
    "price_per_node_hour": ("cheap", -1, {"night": 1}, float("nan")),
    "poll_seconds": (0, "often", float("inf")),
    "batch_url": ("myfarm.westeurope.batch.azure.com", "ftp://myfarm", "https://", "https://h:port", 7),
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in WRONG.items() for value in values])
def test_a_wrong_value_is_refused_with_key_and_table(key: str, value: object) -> None:
    with pytest.raises(ConfigError) as refused:
        read(table(**{key: value}))
    assert f"'{key}' in [pools.cloud]" in refused.value.message


@pytest.mark.parametrize(
    "url",
    [
        "https://mystore.blob.core.windows.net/?sv=2025&sig=abcdef",
        "https://user:abcdef@mystore.blob.core.windows.net",
        "https://mystore.blob.core.windows.net/#abcdef",
    ],
)
def test_a_secret_in_a_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read(table(storage_url=url))
    assert "abcdef" not in str(refused.value)


def test_the_configuration_files_know_the_same_keys() -> None:
    known = {field.name for field in fields(CloudSettings)} - {"name"}
    assert sorted(POOLS["azure-batch"].keys) == sorted(known)


def client_of(**more: Any) -> CloudSettings:
    return read(PoolConfig("cloud", "azure-batch", {**LOCAL, **more}))


@pytest.mark.parametrize(("key", "told"), [("", "not https"), ("not base64!", "key")])
def test_no_token_travels_unencrypted_and_no_key_that_is_none_is_repeated(
    monkeypatch: pytest.MonkeyPatch, key: str, told: str
) -> None:
    monkeypatch.setenv(credentials.BATCH_KEY, key)
    with pytest.raises(ConfigError, match=told) as refused:
        credentials.batch_client(client_of())
    assert "not base64!" not in str(refused.value)


def test_the_storage_key_comes_from_the_environment_or_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(credentials.STORAGE_KEY, KEY)
    assert credentials.storage_key() == KEY
    monkeypatch.delenv(credentials.STORAGE_KEY)
    assert credentials.storage_key() is None


def test_sovereign_clouds_have_tokens_of_their_own() -> None:
    assert "chinacloudapi" in clouds.scope("f.chinaeast.batch.chinacloudapi.cn")


def test_no_log_at_any_level_shows_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    from renderfarm.errors import UnreachableError
    from renderfarm.queues.azure.batch import Batch

    monkeypatch.setenv(credentials.BATCH_KEY, KEY)
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        with pytest.raises(UnreachableError):
            Batch(client_of(), backoff_seconds=0).get_pool("p")
    finally:
        root.setLevel(before)
        root.removeHandler(handler)
    assert "REDACTED" in stream.getvalue()
    assert KEY not in stream.getvalue()
    assert "SharedKey" not in stream.getvalue()


AZURES = (
    ("batch_url", "https://f.westeurope.batch.azure.com"),
    ("batch_url", "https://f.privatelink.batch.azure.com"),
    ("batch_url", "https://f.chinaeast2.batch.chinacloudapi.cn"),
    ("batch_url", "https://f.usgovvirginia.batch.usgovcloudapi.net"),
    ("storage_url", "https://f.blob.core.windows.net"),
    ("storage_url", "https://f.z13.blob.storage.azure.net"),
    ("storage_url", "https://f.blob.core.chinacloudapi.cn"),
    ("storage_url", "https://f.blob.core.usgovcloudapi.net"),
    *(
        ("storage_url", f"http://{host}:10000/acct")
        for host in ("127.0.0.1", "localhost", "[::1]", "127.9.9.9")
    ),
)
STRANGERS = (
    "https://evil.example",
    "https://batch.azure.com",
    "https://blob.core.windows.net",
    "https://f.batch.azure.com.evil.example",
    "https://f.blob.core.windows.net.evil.example",
    "https://xbatch.azure.com",
    "https://fblob.core.windows.net",
    "https://evil.example/f.batch.azure.com",
    "https://evil.example%2f.batch.azure.com",
    "https://evil.example%2f.blob.core.windows.net",
    "https://\u24d4.batch.azure.com",
    "https://f.batch.azure.com.",
    "https://f.cloudapp.azure.com",
    "https://f.azurewebsites.net",
    "https://10.0.0.7",
)


@pytest.mark.parametrize(("key", "url"), AZURES)
def test_azures_own_hosts_are_known_and_this_machine_may_be_plain_http(key: str, url: str) -> None:
    assert getattr(read(table(**{key: url})), key) == url


@pytest.mark.parametrize("key", ["batch_url", "storage_url"])
@pytest.mark.parametrize("url", STRANGERS)
def test_no_other_host_gets_a_key_or_a_token(key: str, url: str) -> None:
    with pytest.raises(ConfigError, match=key):
        read(table(**{key: url}))


def test_a_trusted_project_may_name_azure_and_this_machine_and_nothing_else(tmp_path: Path) -> None:
    lines = [f'{key} = "{value}"' for key, value in {**LEAST, "batch_url": "https://evil.example"}.items()]
    text = '[pools.cloud]\ntype = "azure-batch"\nbatch_account = "f"\n' + "\n".join(lines)
    (tmp_path / config.FILE_NAME).write_text(text)
    trusted(tmp_path / config.FILE_NAME)
    with pytest.raises(ConfigError, match="none of Azure's hosts"):
        read(config.load(tmp_path).table("cloud"))
    (tmp_path / config.FILE_NAME).rename(tmp_path / "own.toml")
    config.user_file().parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "own.toml").rename(config.user_file())
    assert read(config.load(tmp_path).table("cloud")).batch_url == "https://evil.example"
