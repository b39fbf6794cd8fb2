"""Metrics of the backup service."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

LAST_SUCCESS = Gauge("backup_last_success_timestamp", "When the newest backup was completed, Unix time.", ["target"])
SIZE = Gauge("backup_size_bytes", "Stored bytes of the newest backup.", ["target"])
DURATION = Gauge("backup_duration_seconds", "How long the newest backup took.", ["target"])
FAILURES = Counter("backup_failure", "Backups that failed, by class.", ["target", "failure"])
LAST_VERIFIED = Gauge("backup_last_verified_timestamp", "When a backup was last proven, Unix time.", ["target"])
RTO = Gauge("backup_verified_rto_seconds", "Measured by the newest successful verification.", ["target"])
UPLOADED = Counter("backup_uploaded_bytes", "Bytes of parts that were stored.", ["target"])
EXPIRED = Counter("backup_expired", "Backups that retention deleted.", ["target"])
HOOKS_AFTER_FAILED = Counter("backup_hook_after_failure", "Hooks after a backup that failed.", ["target"])
