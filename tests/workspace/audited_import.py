"""Import every module of the packages named on the command line, with all effects on the world forbidden.

Prints a JSON object: module name -> what it tried to do. Run as a program of its own, because an audit hook
stays for the life of the process.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import pkgutil
import sys
import threading
from pathlib import Path

FORBIDDEN = (
    "os.fork",
    "os.kill",
    "os.mkdir",
    "os.posix_spawn",
    "os.remove",
    "os.rename",
    "os.system",
    "subprocess.Popen",
)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC

# Libraries whose own import has an effect that we accept, imported before the hook is set.
ACCEPTED = ("urllib3.util.connection",)  # binds a socket to ::1 once, to learn whether IPv6 works


class EffectError(BaseException):
    """An import did something; no `except Exception` of a library may swallow it."""


def forbid_effects(event: str, arguments: tuple[object, ...]) -> None:
    """Raise on an audit event that reaches outside the process (Python documents them all)."""
    if event in FORBIDDEN or event.startswith("socket."):
        raise EffectError(f"{event} {arguments!r:.200}")
    if event == "open" and isinstance(flags := arguments[2], int) and flags & WRITING:
        raise EffectError(f"opened {arguments[0]!r} for writing")


def module_names(package: str) -> list[str]:
    """Return the package and all modules below it, without importing them."""
    root = importlib.util.find_spec(package)
    if root is None or root.submodule_search_locations is None:
        raise SystemExit(f"no package {package}")
    names, folders = [package], [(package, list(root.submodule_search_locations))]
    while folders:
        parent, locations = folders.pop()
        for info in pkgutil.iter_modules(locations):
            name = f"{parent}.{info.name}"
            if info.name != "__main__":
                names.append(name)
            if info.ispkg:
                folders.append((name, [str(Path(place) / info.name) for place in locations]))
    return names


def try_import(name: str) -> str | None:
    """Import one module and return what it tried to do, if anything."""
    before = threading.active_count()
    try:
        importlib.import_module(name)
    except EffectError as exc:
        return str(exc)
    return "started a thread" if threading.active_count() > before else None


def main(packages: list[str]) -> None:
    """Import all modules with effects forbidden and print what was attempted."""
    names = [name for package in packages for name in module_names(package)]
    for name in ACCEPTED:
        importlib.import_module(name)
    sys.addaudithook(forbid_effects)
    found = {name: effect for name in names if (effect := try_import(name))}
    json.dump({"imported": len(names), "effects": found}, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
