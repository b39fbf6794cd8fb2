"""Metrics of the host agent."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

HOLDER = Gauge("yaoki_agent_holder", "1 while this agent's server may write.")
RENEWALS = Counter("yaoki_agent_renewals_total", "Renewals of the lease, by outcome.", ["outcome"])
FAILSAFE_EXTENSIONS = Counter(
    "yaoki_agent_failsafe_extensions_total", "Deadlines asked for without NATS, by outcome.", ["outcome"]
)
GRANTS = Counter("yaoki_agent_grants_total", "Failsafe grants asked of this agent, by outcome.", ["outcome"])
RECONCILED = Counter("yaoki_agent_reconcile_actions_total", "Actions of the reconcile loop.", ["action", "outcome"])
ORDERS = Counter("yaoki_agent_orders_total", "Orders, by action and outcome.", ["action", "outcome"])
ORDER_SECONDS = Histogram(
    "yaoki_agent_order_seconds",
    "Time to carry an order out.",
    ["action"],
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
STOPS = Counter("yaoki_agent_stops_total", "Servers stopped, with proof, by reason.", ["reason"])
WATCHDOG_LOST = Counter("yaoki_agent_watchdog_lost_total", "Connections to the watchdog that ended unasked.")
