"""What a job needs of the cloud, looked at before there is one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from renderfarm.errors import ConfigError, PoolError, RenderfarmError
from renderfarm.queues.azure import prices
from renderfarm.queues.azure.account import Account
from renderfarm.queues.azure.batch import is_word
from renderfarm.queues.azure.images import choose_image, supported
from renderfarm.queues.remote_side import Check


def checks(account: Account) -> Iterator[Check]:
    """All of it, in the order in which to mend it."""
    looks: dict[str, Callable[[Account], str]] = {
        "Batch account": _batch_account,
        "storage account": _storage_account,
        "image": _image,
        "pool": _pool,
        "renderers": _renderers,
    }
    for name, look in (looks | ({"start task": _start_task} if account.settings.start_task else {})).items():
        try:
            yield Check(name, True, look(account))
        except RenderfarmError as error:
            yield Check(name, False, error.message, error.hint)


def _batch_account(account: Account) -> str:
    pool = account.batch.get_pool(account.settings.pool_id)
    how = "is there" if pool and not is_word(pool.state, "deleting") else "is made by submit"
    return f"{account.settings.batch_url}, pool {account.settings.pool_id!r} {how}"


def _storage_account(account: Account) -> str:
    names = sum(1 for _ in account.storage.containers())
    return f"{account.settings.storage_url}, {names} containers of {account.settings.prefix!r}"


def _image(account: Account) -> str:
    found = choose_image(supported(account.batch), account.settings, datetime.now(UTC))
    return "; ".join((found.name, *found.notes))


def _pool(account: Account) -> str:
    """Size and price; raises PoolError for what keeps all nodes from working."""
    settings, found = account.settings, account.nodes.show()
    for trouble in found.troubles:
        if trouble.fatal:
            raise PoolError(trouble.message, trouble.hint)
    hour = prices.estimate(3600, settings)
    cost = prices.unpriced(settings) or f"about {hour.amount:.3g} {hour.currency} an hour each"
    nodes = f"{found.current_spot + found.current_dedicated} nodes now"
    return "; ".join(filter(None, [f"{settings.vm_size}, {cost}", nodes, prices.retiring(settings.vm_size)]))


def _renderers(account: Account) -> str:
    """What is kept; raises InputError when the table names a renderer that isn't."""
    for name in account.settings.renderer:
        account.packages.named(name)
    return (
        ", ".join(package.name for package in account.packages.all())
        or "none kept in storage (renderfarm renderer add)"
    )


def _start_task(account: Account) -> str:
    path = Path(account.settings.start_task or "")
    if path.is_file():
        return str(path)
    hint = "start_task in the pool's table is the path of a shell script on this machine."
    raise ConfigError(f"There is no file {path}.", hint)
