"""Servers that not every machine can run: what needs them is left out there, except in CI."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

IN_CI = os.environ.get("CI", "").lower() in {"true", "1", "yes"}
ROOT = Path(__file__).parents[5]

collect_ignore = []
if not (IN_CI or shutil.which("haproxy") or (ROOT / ".tools/bin/haproxy").exists()):
    collect_ignore.append("test_haproxy.py")  # `make test` brings it where Debian's packages run
if os.geteuid() != 0 or not Path("/lib/systemd/systemd").exists():
    collect_ignore.append("test_systemd.py")  # a systemd of its own needs a mount namespace, which only root may have
