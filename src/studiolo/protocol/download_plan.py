"""Messages of download plans, in the ``repository`` namespace.

LM Studio's SDK 2.0.0 opens ``createDownloadPlan``, 1.5.0 ``createArtifactDownloadPlan``. Both receive the same
messages; 1.5.0 ignores some of the fields.
"""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, UnsetType

from .declarations import Channel
from .repository import DownloadProgress, FitEstimation, StartFinalizing
from .structs import Message, WireStruct

NodeState = Literal["pending", "fetching", "satisfied", "completed"]
"""Not started; being resolved; already in the library; resolved and not downloaded yet."""


class HuggingFaceModel(Message, frozen=True, tag="huggingface"):
    """A repository on the Hugging Face hub, or a model of the catalog by its publisher."""

    user: str
    repo: str


class ModelTarget(Message, frozen=True, tag="model"):
    source: HuggingFaceModel


class ArtifactTarget(Message, frozen=True, tag="artifact"):
    """A model of the catalog, as :data:`~studiolo.protocol.hub.FUZZY_FIND_STAFF_PICKS` names it."""

    owner: str
    name: str


class PreferredFile(Message, frozen=True, tag="fileName"):
    file_name: str


class PreferredQuantization(Message, frozen=True, tag="quantName"):
    quant_name: str


class PlanOpts(WireStruct, frozen=True):
    resolution_preference: list[PreferredFile | PreferredQuantization] | None = None
    """The options to select if they are offered, the preferred one first."""
    compatibility_types: list[str] | None = None


class CreatePlanParameter(WireStruct, frozen=True):
    target: ArtifactTarget | ModelTarget
    opts: PlanOpts = PlanOpts()


class CreateArtifactPlanParameter(WireStruct, frozen=True):
    owner: str
    name: str


class PlanModelInfo(WireStruct, frozen=True, kw_only=True):
    """A model in the library, or one that the plan downloads."""

    display_name: str
    size_bytes: int
    compatibility_type: str
    quant_name: str | None = None
    model_key: str | None = None


class PlanOption(WireStruct, frozen=True, kw_only=True):
    """A file, or set of files, that a model can be downloaded as."""

    display_name: str
    size_bytes: int
    fit_estimation: FitEstimation
    availability: Literal["notDownloaded", "downloading", "downloaded"]
    compatibility_type: str
    quant_name: str | None = None
    recommended: bool = False


class ArtifactNode(Message, frozen=True, tag="artifact", kw_only=True):
    """A model of the catalog; its one dependency is the model's file."""

    owner: str
    name: str
    state: NodeState
    dependency_nodes: list[int]
    artifact_type: Literal["model"] | None = None


class ModelNode(Message, frozen=True, tag="model", kw_only=True):
    """A model's file."""

    state: NodeState
    dependency_label: str
    resolved_sources: int | None = None
    total_sources: int | None = None
    already_owned: PlanModelInfo | None = None
    selected: PlanModelInfo | None = None
    download_options: list[PlanOption] | None = None
    selected_download_option_index: int | UnsetType | None = UNSET
    """``None``: download nothing and keep the model that is in the library."""
    recommended_download_option_index: int | None = None


class Plan(WireStruct, frozen=True, kw_only=True, omit_defaults=False):
    nodes: list[ArtifactNode | ModelNode]
    download_size_bytes: int = 0
    download_action: Literal["none", "startNewDownload", "attachToExistingDownload"] = "none"
    download_job_identifier: str | UnsetType = UNSET
    version: int = 0
    """The version of the last change of the selection that the plan includes."""


class PlanUpdated(Message, frozen=True, tag="planUpdated"):
    plan: Plan


class PlanReady(Message, frozen=True, tag="planReady"):
    """The plan is resolved and can be committed."""

    plan: Plan


class PlanSuccess(Message, frozen=True, tag="success"):
    """All models of the plan are in the library."""


PlanMessage = PlanUpdated | PlanReady | DownloadProgress | StartFinalizing | PlanSuccess


class Commit(Message, frozen=True, tag="commit"):
    """Start the download."""


class CancelPlan(Message, frozen=True, tag="cancelPlan"):
    """Cancel the plan."""


class CancelDownload(Message, frozen=True, tag="cancelDownload"):
    """Cancel the download."""


class Cancel(Message, frozen=True, tag="cancel"):
    """Cancel the plan, or the download if it has started (SDK 1.5.0)."""


class SelectOption(Message, frozen=True, tag="setSelectedDownloadOptionIndex", kw_only=True):
    """Select another option. The response is a plan of at least ``requested_plan_version``."""

    node_index: int
    selected_download_option_index: int | None
    requested_plan_version: int


PlanRequest = Commit | CancelPlan | CancelDownload | Cancel | SelectOption

CREATE_DOWNLOAD_PLAN: Channel[CreatePlanParameter, PlanMessage] = Channel(
    "createDownloadPlan", CreatePlanParameter, PlanMessage, PlanRequest
)
CREATE_ARTIFACT_DOWNLOAD_PLAN: Channel[CreateArtifactPlanParameter, PlanMessage] = Channel(
    "createArtifactDownloadPlan", CreateArtifactPlanParameter, PlanMessage, PlanRequest
)
