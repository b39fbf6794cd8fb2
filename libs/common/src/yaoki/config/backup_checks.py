"""Backups: what makes no sense without the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yaoki.config.findings import Context, Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

_CRON_FIELDS = 5


def check_backup(context: Context) -> Iterator[Finding]:
    """There is a key to encrypt for; a schedule has five fields; a hook is one of those that are allowed."""
    backup = context.config.backup
    if backup.targets and not backup.recipients:
        yield Finding(
            path="backup.recipients",
            found="nothing",
            expected="at least one public key age1..., or nobody could read the backups",
            hint="age-keygen -o key.txt prints one; keep key.txt away from this host",
            also=("backup.targets",),
        )
    for name, schedule in backup.schedules.items():
        if len(schedule.cron.split()) != _CRON_FIELDS:
            yield Finding(
                path=f"backup.schedules.{name}.cron",
                found=schedule.cron,
                expected="minute, hour, day of month, month and day of week, such as 0 2 * * *",
            )
    for name, target in backup.targets.items():
        for when, hook in (("before", target.hooks.before), ("after", target.hooks.after)):
            if hook is not None and hook.argv[0] not in backup.allowed_hooks:
                yield Finding(
                    path=f"backup.targets.{name}.hooks.{when}.argv[0]",
                    found=hook.argv[0],
                    expected="a program out of backup.allowed_hooks",
                    hint="list it there by its absolute path, if it may run on the backup service's host",
                    also=("backup.allowed_hooks",),
                )
