"""Example bodies with every field filled in, the same at every run."""

from __future__ import annotations

from typing import Any

from msgspec import inspect

_TIME = "2026-01-31T09:30:00Z"
_RUN = "0193c9a2-7b1e-7cc4-9d0a-5b0f3f1f2a11"

# By enumeration, where the first value would tell no likely story.
_CHOSEN = {"ProbeStatus": "unhealthy", "OutcomeStatus": "succeeded"}

# By field name, where the name says more than the type.
_NAMED: dict[str, Any] = {
    "action": "postgres.promote",
    "agent": "pg-b",
    "branch": "switch-database",
    "by": "ada",
    "cluster": "orders",
    "comment": "checked by hand",
    "command_id": "0193c9a2-8c00-7d10-8f00-2f1f0f6b7c21",
    "detail": "connection refused by 127.0.0.1:15432",
    "error": "the standby lacks 4194304 bytes, more than 1048576",
    "error_code": "precondition",
    "facts": {"timeline": 2},
    "flag": "maintenance-all",
    "host": "127.0.0.1",
    "id": "promote",
    "incident_id": "0193c9a2-79f0-7a55-b7a1-0c6f9d1f4e03",
    "instance": "recovery-1",
    "kind": "postgres",
    "leader": "recovery-1",
    "member": "pg-b",
    "month": "2026-01",
    "name": "switch-database",
    "next_steps": ["nats req yaoki.api.recovery.list '{}'"],
    "order_id": "0193c9a2-7b1e-7cc4-9d0a-000000000001",
    "params": {"member": "pg-b"},
    "phase": "connect",
    "plan_hash": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "port": 15433,
    "present": 0,
    "previous": "pg-a",
    "reason": "the primary does not answer",
    "region": "ap-northeast-1",
    "resource": "orders",
    "result": {"timeline": 2},
    "role": "primary",
    "run_id": _RUN,
    "run_kind": "recovery",
    "rule": "14.4x 1h/5m",
    "service": "recovery",
    "service_name": "orders-api",
    "state": "failed",
    "status": "running",
    "step": "promote",
    "subject": "yaoki.evt.probe.orders-db.failure-detected",
    "target": "orders-db",
    "target_kind": "postgres",
    "time_zone": "Asia/Tokyo",
    "value": '{"on":true,"by":"ada","since":"2026-01-31T09:30:00Z"}',
    "vantage": "prober-1",
    "window_id": "20260201-0200-orders-db",
    "watch": f"nats sub 'yaoki.evt.recovery.{_RUN}.>'",
    "worker": "agent-pg-b",
}
_SCALARS: dict[type[inspect.Type], Any] = {
    inspect.AnyType: "anything",
    inspect.BoolType: True,
    inspect.DateTimeType: _TIME,
    inspect.FloatType: 1.5,
    inspect.IntType: 3,
    inspect.StrType: "text",
}


def example(kind: type, *, required_only: bool = False) -> Any:
    """A valid body of `kind` as plain data: every field, or only what has no default."""
    return _value(inspect.type_info(kind), "", required_only=required_only)


def _value(kind: inspect.Type, name: str, *, required_only: bool) -> Any:
    plain = _plain(kind)
    if isinstance(plain, inspect.StructType):
        return _struct(plain, required_only=required_only)
    if isinstance(plain, inspect.EnumType):
        return _CHOSEN.get(plain.cls.__name__) or next(iter(plain.cls)).value
    if name in _NAMED and not isinstance(plain, inspect.LiteralType):
        return _NAMED[name]
    return _unnamed(plain, required_only=required_only)


def _unnamed(kind: inspect.Type, *, required_only: bool) -> Any:
    if isinstance(kind, inspect.LiteralType):
        return kind.values[0]
    if isinstance(kind, inspect.DictType):
        return {"name": _value(kind.value_type, "", required_only=required_only)}
    if isinstance(kind, inspect.VarTupleType | inspect.ListType):
        return [_value(kind.item_type, "", required_only=required_only)]
    return _SCALARS[type(kind)]


def _struct(kind: inspect.StructType, *, required_only: bool) -> Any:
    values = {
        field.encode_name: _value(field.type, field.encode_name, required_only=required_only)
        for field in kind.fields
        if field.required or not required_only
    }
    if kind.array_like:
        return list(values.values())
    return ({kind.tag_field: kind.tag} if kind.tag_field else {}) | values


def _plain(kind: inspect.Type) -> inspect.Type:
    """Without limits and `| None`; of alternatives the first."""
    while isinstance(kind, inspect.Metadata):
        kind = kind.type
    if isinstance(kind, inspect.UnionType):
        return _plain(next(option for option in kind.types if not isinstance(option, inspect.NoneType)))
    return kind
