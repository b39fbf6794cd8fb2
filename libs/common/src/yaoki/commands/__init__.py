"""Orders and questions: what is sent to one service, with what it answers.

Each is a struct in the module of its service; `REQUESTS` lists them for the documentation.
"""

from yaoki.commands.agent import AgentStatusQuery
from yaoki.commands.application import CollectGarbage, ResetPools, WarmCache
from yaoki.commands.backup import ListBackups, PlanRetention, RestoreBackup, TakeBackup, VerifyBackup
from yaoki.commands.base import Request
from yaoki.commands.probe import CheckIn, CheckTarget, ListTargets
from yaoki.commands.recovery import (
    AcknowledgeFailure,
    ListRuns,
    PauseAutomation,
    ResumeAutomation,
    RunChain,
    RunHistory,
    ShowAutomation,
    ShowRun,
    SteerRun,
    SwitchOver,
)
from yaoki.commands.slo import AnnounceMaintenance, CancelMaintenance, ListMaintenance, SloReport, SloStatus
from yaoki.commands.worker import AskOrder, CancelOrder, PerformOrder

REQUESTS: tuple[type[Request], ...] = (
    CheckTarget,
    ListTargets,
    CheckIn,
    RunChain,
    ListRuns,
    ShowRun,
    SteerRun,
    RunHistory,
    PauseAutomation,
    ResumeAutomation,
    ShowAutomation,
    AcknowledgeFailure,
    SwitchOver,
    PerformOrder,
    AskOrder,
    CancelOrder,
    AgentStatusQuery,
    SloStatus,
    SloReport,
    AnnounceMaintenance,
    ListMaintenance,
    CancelMaintenance,
    CollectGarbage,
    ResetPools,
    WarmCache,
    TakeBackup,
    ListBackups,
    VerifyBackup,
    RestoreBackup,
    PlanRetention,
)

__all__ = ["REQUESTS", "Request"]
