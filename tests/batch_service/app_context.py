"""What every operation is handed: the service's state and those who change it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from tests.batch_service.allocation import Allocation
from tests.batch_service.endings import Endings
from tests.batch_service.machines import Machines
from tests.batch_service.processes import Processes
from tests.batch_service.runs import Runner
from tests.batch_service.scheduler import Scheduler
from tests.batch_service.state import Service


@dataclass(frozen=True, slots=True)
class App:
    service: Service
    scheduler: Scheduler
    endings: Endings
    machines: Machines
    allocation: Allocation
    runner: Runner
    processes: Processes

    def new_id(self) -> str:
        """A request id."""
        return str(uuid.uuid4())


def build(service: Service) -> App:
    """The parts of a service, wired to each other."""
    processes = Processes(service.settings.root)
    runner = Runner(service, processes)
    scheduler = Scheduler(service, runner)
    runner.scheduler = scheduler
    scheduler.endings = Endings(service, scheduler, runner)
    machines = Machines(service, scheduler, runner, processes)
    return App(
        service, scheduler, scheduler.endings, machines, Allocation(service, machines), runner, processes
    )
