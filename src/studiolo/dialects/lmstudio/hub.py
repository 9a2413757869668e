"""The part of the ``repository`` namespace for LM Studio's hub: studiolo's own catalog, and no account."""

from __future__ import annotations

import datetime

from msgspec import UNSET

from ...errors import UnsupportedError
from ...host.machine import device_name
from ...library.catalog import Entry
from ...library.download_options import ROOM
from ...library.search import FORMAT, is_exact, staff_pick_name, staff_picks
from ...protocol import hub as wire
from .context import Context, ServerChannel
from .registry import channel, rpc


@rpc(wire.GET_MODEL_CATALOG, "repository")
async def get_model_catalog(context: Context, _: None) -> wire.CatalogModels:
    return wire.CatalogModels(models=[_catalog_model(entry) for entry in context.host.library.catalog.values()])


@rpc(wire.FUZZY_FIND_STAFF_PICKS, "repository")
async def fuzzy_find_staff_picks(context: Context, parameter: wire.FindStaffPicksParameter) -> wire.StaffPicks:
    if parameter.compatibility_types and FORMAT not in parameter.compatibility_types:
        return wire.StaffPicks(results=[])
    term = parameter.search_term or ""
    picks: list[wire.StaffPick] = []
    for entry in staff_picks(term, parameter.limit, context.host.library.catalog):
        owner, name = staff_pick_name(entry)
        picks.append(
            wire.StaffPick(
                owner=owner,
                name=name,
                description=entry.description,
                exact=is_exact(entry, term),
                created_at_timestamp=_milliseconds(entry.added) if entry.added else 0,
            )
        )
    return wire.StaffPicks(results=picks)


@rpc(wire.GET_AUTHENTICATION_STATUS, "repository")
async def get_authentication_status(context: Context, _: None) -> wire.AuthenticationStatus:
    return wire.AuthenticationStatus(authentication_status=wire.NotLoggedIn())


@rpc(wire.IS_AUTHENTICATED, "repository")
async def is_authenticated(context: Context, _: None) -> wire.Authenticated:
    return wire.Authenticated(authenticated=False)


@rpc(wire.DEAUTHENTICATE, "repository")
async def deauthenticate(context: Context, _: None) -> None:
    """Do nothing: there is no account to log out of."""


@rpc(wire.GET_WRITABLE_ARTIFACT_OWNERS, "repository")
async def get_writable_artifact_owners(context: Context, _: None) -> wire.ArtifactOwners:
    return wire.ArtifactOwners(owners=[])


@rpc(wire.LINK_STATUS, "repository")
async def lm_link_status(context: Context, _: None) -> wire.LinkStatus:
    return wire.LinkStatus(device_name=device_name())


@rpc(wire.LINK_SET_DISABLED, "repository")
async def lm_link_set_disabled(context: Context, parameter: wire.LinkDisabled) -> None:
    """Raise :class:`UnsupportedError` if links are to be enabled; they are always disabled."""
    if not parameter.disabled:
        raise _unsupported("lmLinkSetDisabled")


def _unsupported(endpoint: str) -> UnsupportedError:
    return UnsupportedError(
        f"studiolo has no {endpoint!r}: it has no account on LM Studio's hub, and runs no plugins",
        suggestion="Download models without an account: client.repository.searchModels, or studiolo get NAME.",
        feature=endpoint,
    )


def _register_refusals() -> None:
    for each in wire.REFUSED_RPCS:

        async def refuse_rpc(context: Context, _: None, endpoint: str = each.name) -> None:
            raise _unsupported(endpoint)

        rpc(each, "repository")(refuse_rpc)
    for each in wire.REFUSED_CHANNELS:

        async def refuse_channel(
            context: Context, _: None, channel: ServerChannel[None], endpoint: str = each.name
        ) -> None:
            raise _unsupported(endpoint)

        channel(each, "repository")(refuse_channel)


_register_refusals()


def _catalog_model(entry: Entry) -> wire.CatalogModel:
    metadata: wire.LlmMetadata | wire.EmbeddingMetadata
    architectures = [entry.architecture] if entry.architecture else []
    params = [entry.params] if entry.params else []
    context_lengths = [entry.context_length] if entry.context_length else []
    memory = round((entry.size_bytes or 0) * ROOM)
    if entry.domain == "embedding":
        metadata = wire.EmbeddingMetadata(
            architectures=architectures,
            compatibility_types=[FORMAT],
            params_strings=params,
            min_memory_usage_bytes=memory,
            context_lengths=context_lengths,
        )
    else:
        metadata = wire.LlmMetadata(
            architectures=architectures,
            compatibility_types=[FORMAT],
            params_strings=params,
            min_memory_usage_bytes=memory,
            context_lengths=context_lengths,
            trained_for_tool_use=entry.trained_for_tool_use,
            vision=entry.vision,
            reasoning=entry.reasoning,
        )
    owner, name = staff_pick_name(entry)
    return wire.CatalogModel(
        owner=owner,
        name=name,
        description=entry.description,
        metadata=metadata,
        staff_picked_at=_milliseconds(entry.added) if entry.added else UNSET,
    )


def _milliseconds(day: datetime.date) -> int:
    return int(datetime.datetime(day.year, day.month, day.day, tzinfo=datetime.UTC).timestamp() * 1000)
