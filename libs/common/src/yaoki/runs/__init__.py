"""Durable runs: a run is its journal, and any instance can carry it on."""

from yaoki.runs.actions import Action, ActionResult, Actions, Handler
from yaoki.runs.carrier import Patience
from yaoki.runs.decisions import Hold
from yaoki.runs.durable_worker import DurableWorker
from yaoki.runs.errors import (
    ActionFailedError,
    JournalDamagedError,
    LeadershipLostError,
    PreconditionFailedError,
    ResourceBusyError,
)
from yaoki.runs.executor import RunExecutor
from yaoki.runs.gate import Gate
from yaoki.runs.leases import RunLeases
from yaoki.runs.local_worker import LocalWorker
from yaoki.runs.memory import InMemoryJournal
from yaoki.runs.nats_journal import NatsJournal
from yaoki.runs.order_table import OrderTable
from yaoki.runs.registry import RunRegistry
from yaoki.runs.remote import RemoteWorker, serve_orders
from yaoki.runs.settings import ExecutorSettings
from yaoki.runs.starting import StartRun
from yaoki.runs.state import RunState
from yaoki.runs.steering import Steering
from yaoki.runs.workers import Workers

__all__ = [
    "Action",
    "ActionFailedError",
    "ActionResult",
    "Actions",
    "DurableWorker",
    "ExecutorSettings",
    "Gate",
    "Handler",
    "Hold",
    "InMemoryJournal",
    "JournalDamagedError",
    "LeadershipLostError",
    "LocalWorker",
    "NatsJournal",
    "OrderTable",
    "Patience",
    "PreconditionFailedError",
    "RemoteWorker",
    "ResourceBusyError",
    "RunExecutor",
    "RunLeases",
    "RunRegistry",
    "RunState",
    "StartRun",
    "Steering",
    "Workers",
    "serve_orders",
]
