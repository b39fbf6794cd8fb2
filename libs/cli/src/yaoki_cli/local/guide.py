"""What to type next, once the local system is up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yaoki_cli.local.configuration import CLUSTER

if TYPE_CHECKING:
    from yaoki_devstack.stack import DevStack

    from yaoki_cli.local.system import LocalSystem

_GUIDE = """
Everything is running. In another terminal:

  export NATS_URL={nats}
  nats sub 'yaoki.evt.>'                                       # every event, live
  nats req yaoki.api.probe.check '{{"target": "orders-db"}}'     # probe a target now
  nats req yaoki.api.probe.list '{{}}'                           # health of every target
  nats kv watch health                                         # the same, live
  nats kv get flags route.{cluster} --raw                         # who is the primary
  nats req yaoki.api.slo.status '{{}}'                           # what is promised, what was kept
  nats micro ls                                                # who answers requests
  curl http://{probe}/health/detailed

Place an order, then break something and watch. Whoever is the primary has to be killed to cause a failover:

  curl -X POST http://{orders}/orders -d '{{"key": "{key}", "item": "lantern", "quantity": 1}}'
{kills}
The nats command: go install github.com/nats-io/natscli/nats@latest
Configuration: {config}
Logs: {logs}/*/log
The end: make down
"""
_EXAMPLE_KEY = "0192e7a0-0000-7000-8000-000000000001"


def guide(system: LocalSystem, stack: DevStack) -> str:
    """Lines to copy, with this system's own addresses."""
    return _GUIDE.format(
        nats=stack.nats.urls[0],
        cluster=CLUSTER,
        probe=system.addresses.probe,
        orders=system.addresses.orders,
        key=_EXAMPLE_KEY,
        kills="".join(f"  {line}\n" for line in _kills(system, stack)),
        config=system.configuration_file,
        logs=system.services.directory,
    )


def _kills(system: LocalSystem, stack: DevStack) -> list[str]:
    """Lines that stay right when a server was restarted, as far as its process id stands in a file."""
    postgres = [
        f"kill -9 $(head -1 {node.data_dir / 'postmaster.pid'})   # PostgreSQL {node.name}"
        for node in stack.postgres.nodes
    ]
    redis = [f"kill -9 {node.pid}   # Redis {node.name}" for node in stack.redis_nodes if node.running]
    services = [
        f"kill -9 {process.pid}   # {name}: the other one takes over"
        for name in ("recovery-1", "recovery-2")
        for process in system.services.processes(name)[:1]
    ]
    return [*postgres, *redis, *services]
