"""Messages of the ``repository`` namespace about LM Studio's hub: catalog, accounts and links to other machines.

studiolo has no account on the hub: the catalog is its own, and endpoints that need an account are refused.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType

from .declarations import Channel, Rpc
from .structs import Message, WireStruct


class LlmMetadata(Message, frozen=True, tag="llm", kw_only=True, omit_defaults=False):
    architectures: list[str]
    compatibility_types: list[str]
    params_strings: list[str]
    min_memory_usage_bytes: int
    context_lengths: list[int]
    trained_for_tool_use: bool
    vision: bool
    reasoning: bool


class EmbeddingMetadata(Message, frozen=True, tag="embedding", kw_only=True, omit_defaults=False):
    architectures: list[str]
    compatibility_types: list[str]
    params_strings: list[str]
    min_memory_usage_bytes: int
    context_lengths: list[int]


class CatalogModel(Message, frozen=True, tag="model", kw_only=True, omit_defaults=False):
    """A model of the catalog. studiolo counts neither downloads nor likes."""

    owner: str
    name: str
    description: str
    metadata: LlmMetadata | EmbeddingMetadata
    downloads: int = 0
    like_count: int = 0
    staff_picked_at: int | UnsetType = UNSET
    """When it was added to the catalog, as Unix time in milliseconds."""


class CatalogModels(WireStruct, frozen=True, omit_defaults=False):
    models: list[CatalogModel]


class FindStaffPicksParameter(WireStruct, frozen=True):
    search_term: str | None = None
    limit: Annotated[int, Meta(gt=0)] | None = None
    compatibility_types: list[str] | None = None


class StaffPick(WireStruct, frozen=True, kw_only=True, omit_defaults=False):
    """A model of the catalog, with the owner and name that identify it in a download plan."""

    owner: str
    name: str
    description: str
    exact: bool
    created_at_timestamp: int
    """When it was added to the catalog, as Unix time in milliseconds; 0 if unknown."""
    revision_number: int = 1


class StaffPicks(WireStruct, frozen=True, omit_defaults=False):
    results: list[StaffPick]


class NotLoggedIn(Message, frozen=True, tag="none"):
    pass


class AuthenticationStatus(WireStruct, frozen=True, omit_defaults=False):
    authentication_status: NotLoggedIn


class Authenticated(WireStruct, frozen=True, omit_defaults=False):
    authenticated: bool


class ArtifactOwners(WireStruct, frozen=True, omit_defaults=False):
    owners: list[str]


class LinkStatus(WireStruct, frozen=True, kw_only=True, omit_defaults=False):
    """The links to the user's other machines; studiolo has none."""

    device_name: str
    status: Literal["offline"] = "offline"
    issues: tuple[Literal["notLoggedIn"], ...] = ("notLoggedIn",)
    peers: tuple[Any, ...] = ()
    device_identifier: None = None


class LinkDisabled(WireStruct, frozen=True):
    disabled: bool


GET_MODEL_CATALOG: Rpc[None, CatalogModels] = Rpc("getModelCatalog", None, CatalogModels)
FUZZY_FIND_STAFF_PICKS: Rpc[FindStaffPicksParameter, StaffPicks] = Rpc(
    "fuzzyFindStaffPicks", FindStaffPicksParameter, StaffPicks
)
GET_AUTHENTICATION_STATUS: Rpc[None, AuthenticationStatus] = Rpc("getAuthenticationStatus", None, AuthenticationStatus)
IS_AUTHENTICATED: Rpc[None, Authenticated] = Rpc("isAuthenticated", None, Authenticated)
DEAUTHENTICATE: Rpc[None, None] = Rpc("deauthenticate", None, None)
GET_WRITABLE_ARTIFACT_OWNERS: Rpc[None, ArtifactOwners] = Rpc("getWritableArtifactOwners", None, ArtifactOwners)
LINK_STATUS: Rpc[None, LinkStatus] = Rpc("lmLinkStatus", None, LinkStatus)
LINK_SET_DISABLED: Rpc[LinkDisabled, None] = Rpc("lmLinkSetDisabled", LinkDisabled, None)

REFUSED_RPCS: tuple[Rpc[None, None], ...] = tuple(
    Rpc(name, None, None)
    for name in (
        "loginAsComputeDevice",
        "loginWithPreAuthenticatedKeys",
        "getLocalArtifactFiles",
        "installPluginDependencies",
        "installLocalPlugin",
        "lmLinkUpdateDeviceName",
        "lmLinkSetPreferredDevice",
    )
)
"""Endpoints that need an account or plugins. studiolo has neither, and refuses them."""
REFUSED_CHANNELS: tuple[Channel[None, None], ...] = tuple(
    Channel(name, None, None) for name in ("ensureAuthenticated", "downloadArtifact", "pushArtifact")
)
