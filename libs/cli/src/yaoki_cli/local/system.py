"""Starts and ends the whole system on this machine."""

from __future__ import annotations

import asyncio
import shutil
from functools import cached_property
from typing import TYPE_CHECKING

from yaoki.errors import RejectedError
from yaoki_devstack import detached
from yaoki_devstack.postgres_template import PostgresCredentials
from yaoki_devstack.stack import BucketSpec, DevStack, StackSpec

from yaoki_cli.local.addresses import Addresses
from yaoki_cli.local.configuration import CACHE, CLUSTER, configuration_file, write_configuration
from yaoki_cli.local.roles import wait_for_roles
from yaoki_cli.local.services import Service, Services
from yaoki_cli.provisioning import provision_from

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SPEC = StackSpec(
    postgres_synchronous=True,
    start_postgres=False,
    start_redis=False,
    buckets=(BucketSpec(name="backups", versioned=True, object_lock=True),),
)


class LocalSystem:
    """Servers, agents, services and the order application under one directory such as `.yaoki/local`.

    Everything survives the process that started it; `down` ends all of it, whatever state it is in.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory.resolve()
        self.services = Services(self.directory / "services", detached=True)

    @property
    def stack_directory(self) -> Path:
        """Where the servers live."""
        return self.directory / "stack"

    @property
    def configuration_file(self) -> Path:
        """The generated `yaoki.yaml`."""
        return configuration_file(self.directory)

    @cached_property
    def addresses(self) -> Addresses:
        """Where Yaoki's own processes listen."""
        return Addresses(self.directory / "ports.json")

    @property
    def exists(self) -> bool:
        """Whether a system was started here and not ended."""
        return (self.stack_directory / detached.STATE_FILE).exists()

    def stack(self) -> DevStack:
        """Handles to the servers."""
        return detached.load(self.stack_directory)

    async def up(self, say: Callable[[str], None], spec: StackSpec = SPEC) -> DevStack:
        """Start everything and return when the application answers.

        Raises:
            RejectedError: A system is already there.
            FatalError: A part did not start; everything is ended again.
        """
        if self.exists:
            raise RejectedError(f"a system is already running in {self.directory}; end it with `make down`")
        self.directory.mkdir(parents=True, exist_ok=True)
        try:
            say("starting NATS, preparing PostgreSQL, Redis and S3")
            stack = await detached.up(self.stack_directory, spec)
            write_configuration(stack, self.addresses, self.directory)
            say("provisioning streams, consumers and buckets")
            await provision_from(self.configuration_file)
            agents, *others = self._table(stack)
            await self._start(agents, say)
            say("waiting until every database server is in its role")
            await wait_for_roles(stack)
            for row in others:
                await self._start(row, say)
        except BaseException:
            await self.down()
            raise
        return stack

    async def down(self) -> None:
        """End every process and remove every file; doing it twice is no error."""
        await asyncio.to_thread(self.services.stop)
        await detached.down(self.stack_directory)
        await asyncio.to_thread(shutil.rmtree, self.directory, ignore_errors=True)
        self.__dict__.pop("addresses", None)

    async def _start(self, row: tuple[str, list[Service]], say: Callable[[str], None]) -> None:
        title, services = row
        say(f"starting {title}")
        for service in services:
            self.services.start(service)
        await asyncio.gather(*(self.services.wait_ready(service) for service in services))

    def _table(self, stack: DevStack) -> list[tuple[str, list[Service]]]:
        agents = [*stack.postgres.nodes, *stack.redis_nodes]
        return [
            ("host agents", [self._agent(node.name) for node in agents]),
            ("recovery, twice", [self._recovery(1), self._recovery(2)]),
            ("the order service", [self._orders(stack)]),
            ("the health probe and the keeper of service levels", [self._prober(), self._slo()]),
        ]

    def _configured(self, *arguments: str, number: int = 1) -> tuple[str, ...]:
        return (*arguments, "--config", str(configuration_file(self.directory, number)))

    def _agent(self, name: str) -> Service:
        return Service(
            name=f"agent-{name}",
            arguments=self._configured("-m", "health_probe", "--role", "agent", "--agent", name),
        )

    def _prober(self) -> Service:
        return Service(
            name="health-probe",
            arguments=self._configured("-m", "health_probe", "--role", "prober"),
            ready_url=f"http://{self.addresses.probe}/ready",
        )

    def _slo(self) -> Service:
        return Service(
            name="slo",
            arguments=self._configured("-m", "health_probe", "--role", "slo", "--instance", "slo-1"),
            ready_url=f"http://{self.addresses.slo}/ready",
        )

    def _recovery(self, number: int) -> Service:
        return Service(
            name=f"recovery-{number}",
            arguments=self._configured("-m", "recovery", "--instance", f"recovery-{number}", number=number),
            ready_url=f"http://{self.addresses.recovery(number)}/ready",
        )

    def _orders(self, stack: DevStack) -> Service:
        credentials = PostgresCredentials()
        return Service(
            name="orders",
            arguments=("-m", "orders"),
            environment={
                "ORDERS_NATS": stack.nats.url,
                "ORDERS_HTTP": self.addresses.orders,
                "ORDERS_CLUSTER": CLUSTER,
                "ORDERS_CACHE_GROUP": CACHE,
                "ORDERS_DB_USER": credentials.app_user,
                "ORDERS_DB_PASSWORD": credentials.app_password,
                "ORDERS_DB_NAME": credentials.database,
                "ORDERS_REDIS_PASSWORD": stack.redis_master.password,
            },
            ready_url=f"http://{self.addresses.orders}/health",
        )
