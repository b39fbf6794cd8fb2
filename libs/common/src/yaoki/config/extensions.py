"""What services add to the configuration: probe kinds and actions.

`yaoki` knows no service, so each service names an `Extension` as an entry point of its distribution:

    [project.entry-points."yaoki.config"]
    health-probe = "health_probe.probes:EXTENSION"

and builds it from the table in which it registers its probes or actions. A new kind is therefore one file and
one line in that table, and every process of the installation checks the whole file, whoever owns the part.
"""

from __future__ import annotations

from importlib.metadata import entry_points

import msgspec

from yaoki.config.targets import BUILT_IN_KINDS, Target

GROUP = "yaoki.config"


class Extension(msgspec.Struct, frozen=True, kw_only=True):
    """What may stand in the configuration beside what `yaoki` itself knows.

    Attributes:
        target_kinds: Structs of further probe kinds; each has a `tag`.
        actions: Names that may stand in a recovery chain.
    """

    target_kinds: tuple[type[Target], ...] = ()
    actions: tuple[str, ...] = ()


class Vocabulary(msgspec.Struct, frozen=True, kw_only=True):
    """All extensions together.

    Attributes:
        kinds: Target structs by `kind`.
        actions: Known actions; None when no extension names any, and then they are not checked.
    """

    kinds: dict[str, type[Target]]
    actions: frozenset[str] | None = None


def vocabulary(*extensions: Extension) -> Vocabulary:
    """The built-in kinds with what `extensions` add."""
    added = (kind for extension in extensions for kind in extension.target_kinds)
    kinds = {str(kind.__struct_config__.tag): kind for kind in (*BUILT_IN_KINDS, *added)}
    actions = frozenset(name for extension in extensions for name in extension.actions)
    return Vocabulary(kinds=kinds, actions=actions or None)


def installed() -> Vocabulary:
    """What all installed distributions add; importing an extension has no effect beyond its import."""
    return vocabulary(*(entry.load() for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name)))
