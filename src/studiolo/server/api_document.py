"""The description of the HTTP routes, made from what the dialects declare: as OpenAPI, and as a page for people."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from .._version import __version__
from ..dialects.base import Dialect
from ..dialects.http.endpoint import Endpoint

_PARAMETER = re.compile(r"\{(\w+):\w+\}")


def openapi(dialects: Mapping[str, Dialect]) -> dict[str, Any]:
    """Return the OpenAPI document (version 3.1) of the routes of ``dialects``."""
    paths: dict[str, dict[str, Any]] = {}
    schemas: dict[str, Any] = {}
    for name, dialect in dialects.items():
        for endpoint in dialect.endpoints:
            path = _PARAMETER.sub(r"{\1}", endpoint.path)
            for method in endpoint.methods:
                operation = _operation(name, method, endpoint, schemas)
                if (other := paths.setdefault(path, {}).setdefault(method.lower(), operation)) is not operation:
                    _add_answer(other, operation)
    schemes = {"bearer": {"type": "http", "scheme": "bearer"}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "studiolo", "version": __version__},
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": schemes},
        "security": [{}, {"bearer": []}],
    }


def _add_answer(operation: dict[str, Any], other: dict[str, Any]) -> None:
    """Add the answer of another dialect, whose clients are known by a header, to an operation on the same path."""
    for status, answer in other["responses"].items():
        for media_type, content in answer["content"].items():
            schemas = operation["responses"].setdefault(status, answer)["content"].setdefault(media_type, content)
            if schemas is not content and schemas.get("schema") != content.get("schema"):
                schemas["schema"] = {"anyOf": [schemas["schema"], content["schema"]]}


def _operation(dialect: str, method: str, endpoint: Endpoint[Any], schemas: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{dialect} {method} {endpoint.path}").strip("_").lower(),
        "summary": endpoint.summary,
        "tags": [dialect],
        "responses": _responses(dialect, endpoint, schemas),
    }
    names = _PARAMETER.findall(endpoint.path)
    if names:
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
            for name in names
        ]
    if endpoint.request is not None:
        schema = _schema(dialect, endpoint.request, schemas)
        body = schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
        for field, declared in body.get("properties", {}).items():
            if (entry := endpoint.fields.get(field)) is not None:
                declared.setdefault("description", entry.note)
        kind = "multipart/form-data" if endpoint.form else "application/json"
        operation["requestBody"] = {"required": True, "content": {kind: {"schema": schema}}}
    return operation


def _responses(dialect: str, endpoint: Endpoint[Any], schemas: dict[str, Any]) -> dict[str, Any]:
    schema = {} if endpoint.response is None else _schema(dialect, endpoint.response, schemas)
    content: dict[str, Any] = {endpoint.media_type: {"schema": schema}}
    if endpoint.stream_type is not None:
        content[endpoint.stream_type] = {}
    failure: dict[str, Any] = {
        "description": "An error, in the form of the dialect",
        "content": {"application/json": {"schema": {}}},
    }
    return {str(endpoint.status): {"description": "The answer", "content": content}, "4XX": failure, "5XX": failure}


def _schema(dialect: str, kind: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    (schema,), components = msgspec.json.schema_components(
        [kind], ref_template=f"#/components/schemas/{dialect}.{{name}}"
    )
    for name, component in components.items():
        schemas.setdefault(f"{dialect}.{name}", component)
    return schema


def page(dialects: Mapping[str, Dialect]) -> str:
    """Return the same as a page in HTML, which needs nothing from elsewhere."""
    sections = "".join(
        f"<h2>{html.escape(name)}</h2>" + "".join(_section(endpoint) for endpoint in dialect.endpoints)
        for name, dialect in dialects.items()
        if dialect.endpoints
    )
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>studiolo: HTTP routes</title>"
        "<meta name=viewport content='width=device-width'><style>"
        "body{font:16px/1.5 system-ui;margin:2rem auto;max-width:60rem;padding:0 1rem;color-scheme:light dark}"
        "td{border-top:1px solid #8884;padding:.2rem .8rem .2rem 0;vertical-align:top}code{font-size:.95em}"
        "</style><h1>HTTP routes</h1><p>studiolo "
        f"{html.escape(__version__)}. For programs: <a href=/openapi.json>/openapi.json</a>.</p>{sections}</html>"
    )


def _section(endpoint: Endpoint[Any]) -> str:
    path = _PARAMETER.sub(r"{\1}", endpoint.path)
    rows = "".join(
        f"<tr><td><code>{html.escape(name)}</code><td>{field.standing}<td>{html.escape(field.note)}"
        for name, field in endpoint.fields.items()
    )
    table = f"<details><summary>Fields of the body</summary><table>{rows}</table></details>" if rows else ""
    title = f"{' '.join(endpoint.methods)} {path}"
    return f"<h3><code>{html.escape(title)}</code></h3><p>{html.escape(endpoint.summary)}</p>{table}"
