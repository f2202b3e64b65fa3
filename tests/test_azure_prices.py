"""What nodes cost: the shipped table, the user's own, the pool's own price."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from renderfarm.errors import ConfigError
from renderfarm.queues.azure import prices
from renderfarm.queues.azure.settings import CloudSettings, read
from tests.test_azure_settings import table

F8 = "Standard_F8s_v2"


@pytest.fixture(autouse=True)
def users_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the user's own configuration is; there is none."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    folder = tmp_path / "config" / "renderfarm"
    folder.mkdir(parents=True)
    return folder


def settings(**more: Any) -> CloudSettings:
    return read(table(**{"vm_size": F8, **more}))


def write(folder: Path, **sizes: Any) -> None:
    written = {"dated": "2026-11-20", "currency": "EUR", "sizes": sizes}
    (folder / prices.USER_FILE).write_text(json.dumps(written))


@pytest.mark.parametrize(
    ("given", "amount"),
    [
        ({}, 0.037),
        ({"vm_size": "standard_f8S_V2"}, 0.037),
        ({"vm_size": "Standard_X1"}, None),  # nobody knows it
        ({"vm_size": "Standard_NC40ads_H100_v5"}, None),  # without a spot price it is not free
        ({"nodes": 4, "dedicated_nodes": 1}, (3 * 0.037 + 0.338) / 4),
        ({"price_per_node_hour": 0.5}, 0.5),
        ({"price_per_node_hour": {"spot": 0.1, "dedicated": 0.7}, "nodes": 2, "dedicated_nodes": 1}, 0.4),
    ],
)
def test_a_node_hour_has_the_price_of_its_size_and_kinds(given: Any, amount: float | None) -> None:
    found = prices.estimate(3600, settings(**given))
    assert (found.node_hours, found.amount) == (1.0, amount and pytest.approx(amount))


def test_an_estimate_says_of_when_its_price_is() -> None:
    assert prices.estimate(3600, settings()).dated == prices.shipped()[F8.lower()].dated
    assert prices.estimate(3600, settings(vm_size="Standard_NC24ads_A100_v4")).dated == "2026-11"


def test_what_was_spent_counts_each_kind_of_node_at_its_own_price() -> None:
    found = prices.spent(10, 2, settings())
    assert (found.node_hours, found.amount) == (12, pytest.approx(0.37 + 0.676))


def test_the_users_own_table_wins_for_the_sizes_that_it_has_and_the_pools_own_price_over_all(
    users_folder: Path,
) -> None:
    write(users_folder, **{F8: {"spot": 0.05, "dedicated": 0.4}})
    found = prices.estimate(3600, settings())
    assert (found.amount, found.currency, found.dated) == (0.05, "EUR", "2026-11-20")
    assert prices.estimate(3600, settings(price_per_node_hour=0.5)).amount == 0.5
    write(users_folder, Standard_X1={"spot": 1})
    found = prices.estimate(3600, settings())
    assert (found.amount, found.currency) == (0.037, "USD")


@pytest.mark.parametrize(
    "text",
    [
        "not json",
        "[]",
        "{}",
        '{"sizes": []}',
        '{"sizes": {"Standard_X1": 1}}',
        '{"sizes": {"Standard_X1": {}}}',
        '{"sizes": {"Standard_X1": {"spot": "cheap"}}}',
        '{"sizes": {"Standard_X1": {"spot": -1}}}',
        '{"sizes": {"Standard_X1": {"spot": true}}}',
    ],
)
def test_a_table_that_is_none_is_refused_with_its_file_and_an_example(users_folder: Path, text: str) -> None:
    file = users_folder / prices.USER_FILE
    file.write_text(text)
    with pytest.raises(ConfigError) as refused:
        prices.estimate(3600, settings())
    assert str(file) in refused.value.message
    assert "Standard_D8ads_v6" in refused.value.hint


def test_a_size_without_a_price_names_the_key_that_sets_one() -> None:
    told = prices.unpriced(settings(vm_size="Standard_D8ads_v6"))
    assert told is not None
    assert "price_per_node_hour in [pools.cloud]" in told
    assert prices.unpriced(settings(vm_size="Standard_D8ads_v6", price_per_node_hour=0.2)) is None
    assert prices.unpriced(settings()) is None


RETIRED = {
    "Standard_D3_v2": "2028-05-01",
    "Standard_DS13-2_v2": "2028-05-01",
    "Standard_F8s_v2": "2028-11-15",
    "Standard_B2ms": "2028-11-15",
    "Standard_L8s_v2": "2028-11-15",
    "Standard_HB120rs_v2": "HBv2",
    "Standard_NC6s_v3": "NCv3",
}
KEPT = [
    "Standard_D8ads_v6",
    "Standard_D2s_v3",
    "Standard_NC4as_T4_v3",
    "Standard_HB120rs_v3",
    "Standard_B2ts_v2",
]


def test_sizes_that_azure_retires_are_told_and_no_others() -> None:
    assert [size for size, word in RETIRED.items() if word not in (prices.retiring(size) or "")] == []
    assert [size for size in KEPT if prices.retiring(size)] == []
