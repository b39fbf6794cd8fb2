"""Every action that may stand in a recovery chain. A new one is a file beside this one and a line in `ACTIONS`."""

from yaoki.config.extensions import Extension

from recovery.actions.call_webhook import CallWebhook
from recovery.actions.clean_up_logs import CleanUpLogs
from recovery.actions.clean_up_processes import CleanUpProcesses
from recovery.actions.collect_garbage import CollectGarbage
from recovery.actions.disable_caching import DisableCaching
from recovery.actions.enable_maintenance import EnableMaintenance
from recovery.actions.flush_cache import FlushCache
from recovery.actions.kind import ActionKind, ActionRequest, NotApplicable
from recovery.actions.notify import Notify
from recovery.actions.open_circuit import OpenCircuit
from recovery.actions.reattach_replica import ReattachReplica
from recovery.actions.reset_connection_pools import ResetConnectionPools
from recovery.actions.restart_application import RestartApplication
from recovery.actions.restart_database_connections import RestartDatabaseConnections
from recovery.actions.restart_redis_connections import RestartRedisConnections
from recovery.actions.restart_workers import RestartWorkers
from recovery.actions.run_command import RunCommand
from recovery.actions.scale_out import ScaleOut
from recovery.actions.switch_database import SwitchDatabase
from recovery.actions.switch_redis import SwitchRedis
from recovery.actions.warm_cache import WarmCache

ACTIONS: tuple[ActionKind, ...] = (
    RestartDatabaseConnections(),
    SwitchDatabase(),
    EnableMaintenance(),
    RestartRedisConnections(),
    SwitchRedis(),
    DisableCaching(),
    CallWebhook(),
    CleanUpLogs(),
    CleanUpProcesses(),
    CollectGarbage(),
    FlushCache(),
    Notify(),
    OpenCircuit(),
    ReattachReplica(),
    ResetConnectionPools(),
    RestartApplication(),
    RestartWorkers(),
    RunCommand(),
    ScaleOut(),
    WarmCache(),
)

EXTENSION = Extension(actions=tuple(action.name for action in ACTIONS))

__all__ = ["ACTIONS", "EXTENSION", "ActionKind", "ActionRequest", "NotApplicable"]
