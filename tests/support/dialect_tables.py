"""docs/dialects.md, made from what the dialects declare: ``python -m tests.support.dialect_tables`` writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from studiolo.dialects import dialects
from studiolo.dialects.http.endpoint import Endpoint

PAGE = Path(__file__).parents[2] / "docs" / "dialects.md"

HEAD = """# HTTP dialects: every field

<!-- Made from the tables in src/studiolo/dialects by `make tables`; a test compares. -->

Each field of a request that the official clients of a dialect can send is **honoured** (it does what the service's
documentation says), **refused** (a request that sets it is answered with status 400, which names the field), or
**ignored** because the service itself ignores it or because it has no meaning on one's own machine. `null` is the same
as leaving a field out.

A field that is not listed is unknown. It is ignored, named in the answer's header `studiolo-ignored-fields`, and logged
once; with the setting `server.strict_fields` it is refused. LM Studio's REST API refuses unknown fields in any case.

`GET /openapi.json` describes the same routes for programs, `GET /docs` for people.
"""


def page() -> str:
    """Return the text of the page."""
    sections = [HEAD]
    for name, dialect in dialects().items():
        with_body = [endpoint for endpoint in dialect.endpoints if endpoint.fields]
        if with_body:
            sections += [f"## {name}\n", *(_section(endpoint) for endpoint in with_body)]
    return "\n".join(sections)


def _section(endpoint: Endpoint[Any]) -> str:
    rows = [
        f"| `{path}` | {field.standing} | {field.note.replace('|', chr(92) + '|')} |"
        for path, field in endpoint.fields.items()
    ]
    title = f"### {' '.join(endpoint.methods)} {endpoint.path}\n\n{endpoint.summary}.\n"
    return "\n".join([title, "| field | | |", "|---|---|---|", *rows, ""])


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
