"""``studiolo doctor``: check what models are run with, and say what to fix."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(doctor)


def doctor(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Check what models are run with. Exit status: 0 where all is well, 1 where something has to be fixed."""
    import msgspec

    from ..paths import Home
    from ..server.diagnosis import examine
    from .output import print_json

    findings = examine(Home.named())
    if json:
        print_json([msgspec.structs.asdict(finding) for finding in findings])
    else:
        width = max(len(finding.what) for finding in findings)
        for finding in findings:
            print(f"{'ok ' if finding.remedy is None else '!! '} {finding.what.ljust(width)}  {finding.found}")
            if finding.remedy is not None:
                print(f"    {' ' * width}  {finding.remedy}")
    raise typer.Exit(1 if any(finding.remedy for finding in findings) else 0)
