"""Rewrite ``$dynamicRef`` and ``$recursiveRef``, which llguidance ignores, as ``$ref``.

Their target depends on the resources that validation has entered: subschemas with an ``$id`` of their own. It is known
if the root has the anchor, because validation begins there, or if nothing else has it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .schema_checks import RefusedError
from .subschemas import Pointer, Schema, at, children, keywords, path_of, pointer_of, reference_to

_HINT = "Write $ref with the place that is meant, such as '#/$defs/node'."


class _Place(NamedTuple):
    pointer: Pointer
    schema: Schema
    resource: Pointer


def resolve_dynamic_references(document: Schema) -> None:
    """Rewrite the dynamic references of a schema in place.

    Raises:
        RefusedError: the target of one depends on how validation reaches it.
    """
    all_places = list(_places(document))
    for place in all_places:
        for keyword in ("$dynamicRef", "$recursiveRef"):
            reference = place.schema.get(keyword)
            if isinstance(reference, str):
                _rewrite(place, keyword, _target(document, all_places, place, keyword, reference))


def _places(document: Schema) -> list[_Place]:
    found: list[_Place] = []
    waiting: list[tuple[Pointer, Any, Pointer]] = [((), document, ())]
    while waiting:
        pointer, schema, resource = waiting.pop()
        inner = keywords(schema)
        if pointer and isinstance(inner.get("$id"), str):
            resource = pointer
        found.append(_Place(pointer, inner, resource))
        waiting += [((*pointer, *child.pointer), child.schema, resource) for child in children(inner)]
    return found


def _target(document: Schema, all_places: list[_Place], place: _Place, keyword: str, reference: str) -> str:
    if keyword == "$recursiveRef":
        resources = [each for each in all_places if each.pointer == each.resource]
        anchored = [each for each in resources if each.schema.get("$recursiveAnchor")]
        own: Pointer | None = place.resource
    else:
        name = reference.partition("#")[2]
        anchored = [each for each in all_places if each.schema.get("$dynamicAnchor") == name and name]
        own = _static(document, all_places, place, reference)
    if own is None:
        raise _refused(place, keyword, f"{reference!r} leads out of its resource")
    if own in [each.pointer for each in anchored]:
        in_root = [each for each in anchored if each.resource == ()]
        candidates = in_root or anchored
        if len(candidates) > 1:
            raise _refused(place, keyword, f"the target of {reference!r} depends on how validation reaches it")
        own = candidates[0].pointer
    resource = next(each.resource for each in all_places if each.pointer == own)
    if resource == place.resource:
        return reference_to(own[len(resource) :])
    identifier = at(document, resource).get("$id")
    if not isinstance(identifier, str):
        raise _refused(place, keyword, f"the target of {reference!r} is in a resource without $id")
    return identifier.partition("#")[0] + reference_to(own[len(resource) :])


def _static(document: Schema, all_places: list[_Place], place: _Place, reference: str) -> Pointer | None:
    """Return the place that the reference would have as ``$ref``; ``None`` if it is not in its own resource."""
    if not reference.startswith("#"):
        return None
    if reference == "#" or reference.startswith("#/"):
        return (*place.resource, *pointer_of(reference))
    for each in all_places:
        if each.resource == place.resource and reference[1:] in (
            each.schema.get("$anchor"),
            each.schema.get("$dynamicAnchor"),
        ):
            return each.pointer
    return None


def _rewrite(place: _Place, keyword: str, target: str) -> None:
    del place.schema[keyword]
    if "$ref" in place.schema:
        place.schema["allOf"] = [*place.schema.get("allOf", ()), {"$ref": target}]
    else:
        place.schema["$ref"] = target


def _refused(place: _Place, keyword: str, why: str) -> RefusedError:
    return RefusedError("unsupported", path_of((*place.pointer, keyword)), why, _HINT)
