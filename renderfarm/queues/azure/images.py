"""Which image nodes are made of: looked up in what the service supports, because images come and go.

Ubuntu 24.04 unless the pool's table names another; for containers and GPUs the image that Azure keeps for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from azure.batch import models

from renderfarm.errors import PoolError
from renderfarm.queues.azure.batch import Json, is_word
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


def choose_image(images: Iterable[models.BatchSupportedImage], settings: CloudSettings, now: datetime) -> Image:
    """The image for a pool's nodes; raises PoolError when the service doesn't support what is wanted."""
    if settings.image and settings.image.startswith("/"):
        reference = {"virtualMachineImageId": settings.image}
        return Image(
            settings.image, reference, settings.node_agent or "", _extensions(settings, settings.image)
        )
    known = [image for image in images if is_word(image.os_type, "linux")]
    wanted = settings.image or default_image(settings)
    found = _best(known, wanted, docker=settings.container_image is not None)
    if found is None:
        raise _unknown(known, wanted, settings)
    reference = _reference(found)
    if len(wanted.split(":")) > 3:
        reference["version"] = wanted.split(":")[3]
    notes = tuple(_notes(found, now, chosen=settings.image is not None))
    return Image(_name(found), reference, found.node_agent_sku_id, _extensions(settings, wanted), notes)


def default_image(settings: CloudSettings) -> str:
    """What a pool's nodes are made of when nobody says."""
    needs_cuda = has_gpu(settings.vm_size) and not _wants_grid(settings.vm_size)
    return CONTAINERS if settings.container_image or needs_cuda else PLAIN


def has_gpu(vm_size: str) -> bool:
    """Whether machines of that size have a graphics card: the N series."""
    return vm_size.lower().removeprefix("standard_").startswith(("nc", "nd", "nv"))


def _wants_grid(vm_size: str) -> bool:
    """Sizes with a part of a card need the licensed driver that only the extension brings."""
    return vm_size.lower().removeprefix("standard_").startswith("nv")


def _extensions(settings: CloudSettings, image: str) -> tuple[Json, ...]:
    has_driver = ":ubuntu-hpc:" in image and not _wants_grid(settings.vm_size)
    return () if has_driver or not has_gpu(settings.vm_size) else (dict(GRID_DRIVER),)


def _best(
    images: Iterable[models.BatchSupportedImage], wanted: str, *, docker: bool
) -> models.BatchSupportedImage | None:
    """The supported image of that name: verified by Batch, able to run containers when it must."""
    fitting = (
        image
        for image in images
        if _name(image) == ":".join(wanted.lower().split(":")[:3])
        and is_word(image.verification_type, "verified")
        and (not docker or DOCKER.lower() in (c.lower() for c in image.capabilities or ()))
    )
    return next(fitting, None)


def _name(image: models.BatchSupportedImage) -> str:
    reference = image.image_reference
    return f"{reference.publisher}:{reference.offer}:{reference.sku}".lower()


def _reference(image: models.BatchSupportedImage) -> Json:
    reference = image.image_reference
    return {
        "publisher": reference.publisher,
        "offer": reference.offer,
        "sku": reference.sku,
        "version": reference.version or "latest",
    }


def _notes(image: models.BatchSupportedImage, now: datetime, *, chosen: bool) -> Iterator[str]:
    end = image.batch_support_end_of_life
    if end is None or end > now + WARNING:
        return
    way = "choose another `image`" if chosen else "update renderfarm, or choose an `image` in the pool's table"
    verb = "ended" if end <= now else "ends"
    yield f"Azure Batch's support of {_name(image)} {verb} on {end:%Y-%m-%d}: {way}, then make the pool anew"


def _unknown(images: Iterable[models.BatchSupportedImage], wanted: str, settings: CloudSettings) -> PoolError:
    needs = " that is verified and runs containers" if settings.container_image else " that is verified"
    names = sorted({_name(image) for image in images if is_word(image.verification_type, "verified")})
    known = nearest(wanted, names) or f"It supports: {', '.join(names)}."
    hint = f"{known} Set `image` in [pools.{settings.name}]."
    return PoolError(f"Azure Batch supports no image {wanted}{needs}.", hint)
