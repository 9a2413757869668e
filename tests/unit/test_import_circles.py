"""No module of the SDK imports, by whatever way, a module that imports it."""

from __future__ import annotations

import grimp
import pytest


def circles(graph: grimp.ImportGraph, package: str) -> list[set[str]]:
    """Return the circles of imports among the modules of a package, each as the set of its modules."""
    upstream = {
        module: graph.find_upstream_modules(module) for module in graph.modules if module.startswith(f"{package}.")
    }
    found = [
        {module, *(other for other in upstream if other in upstream[module] and module in upstream[other])}
        for module in upstream
    ]
    return [circle for number, circle in enumerate(found) if len(circle) > 1 and circle not in found[:number]]


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("studiolo", cache_dir=None)


def test_the_sdk_has_no_import_circle(graph: grimp.ImportGraph) -> None:
    assert circles(graph, "studiolo.sdk") == []


def test_a_circle_would_be_found(graph: grimp.ImportGraph) -> None:
    graph.add_import(importer="studiolo.sdk.session", imported="studiolo.sdk.async_client")
    assert any(
        {"studiolo.sdk.session", "studiolo.sdk.async_client"} <= circle for circle in circles(graph, "studiolo.sdk")
    )
