"""Which machines and images there are: families of sizes by the form of their names, images by their agents."""

from __future__ import annotations

import re

from tests.batch_service.errors import invalid_property
from tests.batch_service.state import Body

SIZE = re.compile(
    r"(?:standard|basic)_(?P<family>[a-z]+)(?P<cores>\d+)(?:-\d+)?(?P<traits>[a-z]*)(?P<rest>(?:_[a-z0-9]+)*)",
    re.IGNORECASE,
)
FAMILY = re.compile(r"a|b|dc?|ds|ec?|fx?|gs?|h|hb|hc|hx|ls?|m|nc|nd|ng|np|nv", re.IGNORECASE)
MOST_CORES = 1832
NEWEST = 7
OLD_CORES = {1: 1, 2: 2, 3: 4, 4: 8, 5: 16, 11: 2, 12: 4, 13: 8, 14: 16, 15: 20}
"""of the first two versions of D and DS, whose names count sizes instead"""
MOST_SLOTS = 256
SLOTS_PER_CORE = 4


def check_size(name: str) -> None:
    """BatchError for a size that is of no family of Azure's."""
    found = SIZE.fullmatch(name)
    version = re.search(r"_v(\d+)$", name, re.IGNORECASE)
    known = found is not None and FAMILY.fullmatch(found["family"]) and _is_plausible(int(found["cores"]))
    if not known or (version and not 1 < int(version[1]) <= NEWEST):
        raise invalid_property("vmSize", name, "The specified VM size is not supported.")


def _is_plausible(number: int) -> bool:
    """Whether any size has so many cores: beyond 16 they come in fours, but for two."""
    return 1 <= number <= 16 or number in (18, 30) or (number % 4 == 0 and number <= MOST_CORES)


def cores(name: str) -> int:
    """Cores of a size, as its name tells: 8 for Standard_D8s_v5, 4 for Standard_D3_v2."""
    found = SIZE.fullmatch(name)
    if found is None:
        return 1
    number = int(found["cores"])
    is_old = found["family"].lower() in ("d", "ds") and not found["traits"]
    if is_old and (not found["rest"] or found["rest"].lower() in ("_v2", "_v2_promo")):
        return OLD_CORES.get(number, number)
    return number


def most_slots(name: str) -> int:
    """Tasks that a node of a size may run at once."""
    return min(SLOTS_PER_CORE * cores(name), MOST_SLOTS)


_OFFERS = {
    ("canonical", "ubuntuserver"): {"16.04": "ubuntu 16.04", "18.04": "ubuntu 18.04"},
    ("canonical", "0001-com-ubuntu-server-focal"): {"20_04": "ubuntu 20.04"},
    ("canonical", "0001-com-ubuntu-server-jammy"): {"22_04": "ubuntu 22.04"},
    ("canonical", "ubuntu-24_04-lts"): {"server": "ubuntu 24.04", "minimal": "ubuntu 24.04"},
    ("microsoft-dsvm", "ubuntu-hpc"): {
        "1804": "ubuntu 18.04",
        "2004": "ubuntu 20.04",
        "2204": "ubuntu 22.04",
        "2404": "ubuntu 24.04",
    },
    ("microsoft-azure-batch", "ubuntu-server-container"): {"16-04": "ubuntu 16.04", "20-04": "ubuntu 20.04"},
    ("almalinux", "almalinux-x86_64"): {"8": "el 8", "9": "el 9"},
    ("almalinux", "almalinux"): {"8": "el 8", "9": "el 9"},
    ("debian", "debian-10"): {"10": "debian 10"},
    ("debian", "debian-11"): {"11": "debian 11"},
    ("debian", "debian-12"): {"12": "debian 12"},
    ("openlogic", "centos"): {"7": "centos 7"},
    ("microsoftwindowsserver", "windowsserver"): {"20": "windows amd64"},
    ("microsoft-dsvm", "dsvm-win-2019"): {"": "windows amd64"},
}
"""publisher and offer to the beginnings of their SKUs and the agent that each takes: what there is, and was"""
AGENTS = frozenset(f"batch.node.{agent}" for skus in _OFFERS.values() for agent in skus.values())


def check_image(machine: Body) -> None:
    """BatchError for an image that Batch knows nothing of, or an agent that does not run on it."""
    agent = str(machine.get("nodeAgentSKUId") or "")
    image = machine.get("imageReference") or {}
    if agent.lower() not in AGENTS:
        raise invalid_property("nodeAgentSKUId", agent, "There is no such node agent.")
    if image.get("virtualMachineImageId") or image.get("sharedGalleryImageId"):
        return
    if image.get("communityGalleryImageId"):
        return
    names = [str(image.get(name) or "").lower() for name in ("publisher", "offer", "sku")]
    skus = _OFFERS.get((names[0], names[1]), {})
    fitting = {f"batch.node.{known}" for start, known in skus.items() if names[2].startswith(start)}
    if not names[2] or not fitting:
        raise invalid_property("imageReference", ":".join(names), "The specified image is not supported.")
    if agent.lower() not in fitting:
        raise invalid_property("nodeAgentSKUId", agent, f"The image takes {', '.join(sorted(fitting))}.")
