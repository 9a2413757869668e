"""Find plug-ins (engines, sources, dialects): the built-in ones in a table, those of other packages by entry point."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points

_PACKAGE = __name__.rpartition(".")[0]
"""The name of the package: another one where it is a part of another package."""

_log = logging.getLogger("studiolo.plugins")


def find(group: str, built_in: Mapping[str, str]) -> dict[str, EntryPoint]:
    """Return the plug-ins of a group by name. None is imported: that is what ``EntryPoint.load`` does.

    The built-in plug-ins are found without the metadata of an installed package, such as in a zipapp or a frozen
    program. A package that registers one of their names does not replace it, and of two packages that register the
    same name the first is used; both are logged.

    Parameters:
        group: the entry point group, such as ``studiolo.engines``.
        built_in: the built-in plug-ins: names and ``module:attribute``; a module below this package begins with a dot.
    """
    found = {
        name: EntryPoint(name, f"{_PACKAGE}{value}" if value.startswith(".") else value, group)
        for name, value in built_in.items()
    }
    for point in entry_points(group=group):
        known = found.setdefault(point.name, point)
        if known.value != point.value:
            package = point.dist.name if point.dist is not None else "a package"
            _log.warning(
                "Ignored the %s plug-in %r of %s (%s): the name belongs to %s",
                group,
                point.name,
                package,
                point.value,
                known.value,
            )
    return found
