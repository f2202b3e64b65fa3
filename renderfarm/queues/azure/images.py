"""Which image nodes are made of: looked up in what the service supports, because images come and go.

Ubuntu 24.04 unless the pool's table names another; for containers and GPUs the image that Azure keeps for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from azure.batch import models

from renderfarm.errors import PoolError
from renderfarm.queues.azure.batch import Batch, Json, is_word, items
from renderfarm.queues.azure.settings import CloudSettings
from renderfarm.settings.options import nearest

PLAIN = "canonical:ubuntu-24_04-lts:server"
CONTAINERS = "microsoft-dsvm:ubuntu-hpc:2404"
"""has Docker and the CUDA driver"""
DOCKER = "DockerCompatible"
WARNING = timedelta(days=365)
"""before Batch stops to support an image"""
GRID_DRIVER = {
    "name": "gpu",
    "publisher": "Microsoft.HpcCompute",
    "type": "NvidiaGpuDriverLinux",
    "typeHandlerVersion": "1.9",
    "autoUpgradeMinorVersion": True,
}
"""the extension that installs NVIDIA's driver where the image has none"""


@dataclass(frozen=True)
class Image:
    """An image and the node agent that fits it, as the REST API has them."""

    name: str
    """publisher:offer:sku, or a resource id"""
    reference: Json
    agent: str
    extensions: tuple[Json, ...] = ()
    notes: tuple[str, ...] = ()


def supported(batch: Batch) -> Iterator[models.BatchSupportedImage]:
    """The images that Batch can make nodes of."""
    return items("list the images", batch.sdk.list_supported_images)


def choose_image(images: Iterable[models.BatchSupportedImage], settings: CloudSettings, now: datetime) -> Image:
    """The image for a pool's nodes; raises PoolError when the service doesn't support what is wanted."""
    wanted = settings.image or _default(settings)
    if wanted.startswith("/"):
        named: Json = {"virtualMachineImageId": wanted}
        return Image(wanted, named, settings.node_agent or "", _extensions(settings, wanted))
    wanted = wanted.lower()
    name, version = ":".join(wanted.split(":")[:3]), wanted.split(":")[3:]
    linux = (each for each in images if is_word(each.os_type, "linux"))
    verified = [each for each in linux if is_word(each.verification_type, "verified")]
    found = next((each for each in verified if _name(each) == name and _fits(each, settings)), None)
    if found is None:
        raise _unknown({_name(each) for each in verified}, wanted, settings)
    kept = found.image_reference
    reference: Json = {"publisher": kept.publisher, "offer": kept.offer, "sku": kept.sku}
    reference["version"] = version[0] if version else kept.version or "latest"
    notes = tuple(_notes(found, now, chosen=settings.image is not None))
    return Image(name, reference, found.node_agent_sku_id, _extensions(settings, wanted), notes)


def _default(settings: CloudSettings) -> str:
    """What a pool's nodes are made of when nobody says."""
    return CONTAINERS if settings.container_image or _driver(settings) == "cuda" else PLAIN


def _driver(settings: CloudSettings) -> str:
    """What drives the cards of the N series; that of shared ones only the extension brings."""
    drivers = {"nc": "cuda", "nd": "cuda", "nv": "grid"}
    return drivers.get(settings.vm_size.lower().removeprefix("standard_")[:2], "")


def _extensions(settings: CloudSettings, image: str) -> tuple[Json, ...]:
    brought = ("", "cuda") if ":ubuntu-hpc:" in image else ("",)
    return () if _driver(settings) in brought else (dict(GRID_DRIVER),)


def _fits(image: models.BatchSupportedImage, settings: CloudSettings) -> bool:
    able = [capability.lower() for capability in image.capabilities or ()]
    return settings.container_image is None or DOCKER.lower() in able


def _name(image: models.BatchSupportedImage) -> str:
    reference = image.image_reference
    return f"{reference.publisher}:{reference.offer}:{reference.sku}".lower()


def _notes(image: models.BatchSupportedImage, now: datetime, *, chosen: bool) -> Iterator[str]:
    end = image.batch_support_end_of_life
    if end is None or end > now + WARNING:
        return
    way = "choose another `image`" if chosen else "update renderfarm, or choose an `image` in the pool's table"
    verb = "ended" if end <= now else "ends"
    yield f"Azure Batch's support of {_name(image)} {verb} on {end:%Y-%m-%d}: {way}, then make the pool anew"


def _unknown(names: set[str], wanted: str, settings: CloudSettings) -> PoolError:
    needs = " that is verified and runs containers" if settings.container_image else " that is verified"
    known = nearest(wanted, names) or f"It supports: {', '.join(sorted(names))}."
    hint = f"{known} Set `image` in [pools.{settings.name}]."
    return PoolError(f"Azure Batch supports no image {wanted}{needs}.", hint)
