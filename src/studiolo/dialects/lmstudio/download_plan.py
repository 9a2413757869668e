"""Download plans: resolve a model, let the client select a download option, and download it once it commits."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from ...errors import DownloadError, NotDownloadableError, ProtocolError
from ...library.catalog import Entry
from ...library.download_options import DownloadOption
from ...library.download_plan import DownloadPlan, Preference, availability, make_plan
from ...library.model import Model
from ...library.search import FORMAT, staff_pick_name
from ...protocol import download_plan as wire
from ...protocol.repository import DownloadProgress, StartFinalizing
from .context import Context, ServerChannel
from .encoding import download_progress
from .progress import reporting
from .registry import channel

T = TypeVar("T")


@channel(wire.CREATE_DOWNLOAD_PLAN, "repository")
async def create_download_plan(
    context: Context, parameter: wire.CreatePlanParameter, channel: ServerChannel[wire.PlanMessage]
) -> None:
    target = parameter.target
    if isinstance(target, wire.ArtifactTarget):
        planner = _Planner(context, channel, artifact=(target.owner, target.name))
    else:
        planner = _Planner(context, channel, repository=f"{target.source.user}/{target.source.repo}")
    await planner.run(parameter.opts)


@channel(wire.CREATE_ARTIFACT_DOWNLOAD_PLAN, "repository")
async def create_artifact_download_plan(
    context: Context, parameter: wire.CreateArtifactPlanParameter, channel: ServerChannel[wire.PlanMessage]
) -> None:
    await _Planner(context, channel, artifact=(parameter.owner, parameter.name)).run(wire.PlanOpts())


class _Planner:
    """One download plan: the state behind one channel.

    Parameters:
        repository: ``owner/name`` of a repository on the Hugging Face hub, or of a model of the catalog.
        artifact: owner and name of a model of the catalog.
    """

    def __init__(
        self,
        context: Context,
        channel: ServerChannel[wire.PlanMessage],
        *,
        repository: str = "",
        artifact: tuple[str, str] | None = None,
    ) -> None:
        self._library = context.host.library
        self._channel = channel
        self._artifact = artifact
        self._label = "/".join(artifact) if artifact else repository
        self._waiting: deque[wire.PlanRequest] = deque()

    async def run(self, opts: wire.PlanOpts) -> None:
        """Serve the channel until the download ends.

        Raises:
            DownloadError: the client cancelled, which it expects an error for, or the download failed.
            NotDownloadableError: there is no such model.
            ConfigError: the client selected an option that is not offered.
        """
        await self._channel.send(wire.PlanUpdated(plan=wire.Plan(nodes=self._nodes(self._unresolved()))))
        plan = await self._unless_cancelled(self._look_up(opts))
        await self._channel.send(wire.PlanReady(plan=self._encoded(plan)))
        while True:
            match self._waiting.popleft() if self._waiting else await self._channel.requests.get():
                case wire.Commit():
                    break
                case wire.SelectOption() as request:
                    self._select(plan, request)
                    await self._channel.send(wire.PlanUpdated(plan=self._encoded(plan)))
                case _:
                    raise self._cancelled("download plan")
        if plan.model is None:
            await self._unless_cancelled(self._download(plan.choice))
        await self._channel.send(wire.PlanSuccess())

    async def _look_up(self, opts: wire.PlanOpts) -> DownloadPlan:
        if opts.compatibility_types and FORMAT not in opts.compatibility_types:
            raise NotDownloadableError(
                f"{self._label} is not offered as {', '.join(opts.compatibility_types)}",
                cause=f"studiolo runs only models in the format {FORMAT}",
            )
        preferences = [
            Preference(file_name=each.file_name)
            if isinstance(each, wire.PreferredFile)
            else Preference(quantization=each.quant_name)
            for each in opts.resolution_preference or ()
        ]
        if self._artifact is not None:
            name = self._picked(*self._artifact).name
        else:
            entry = self._library.catalog.find(self._label)
            name = entry.name if entry else f"hf:{self._label}"
        return await make_plan(self._library, self._label, name, preferences)

    def _picked(self, owner: str, name: str) -> Entry:
        for entry in self._library.catalog.values():
            if staff_pick_name(entry) == (owner.casefold(), name.casefold()):
                return entry
        raise NotDownloadableError(
            f"The catalog has no model {owner}/{name}",
            cause="Other artifacts are on LM Studio's hub, where studiolo has no account",
            suggestion="Search for models with: studiolo search WORD",
        )

    async def _download(self, option: DownloadOption) -> None:
        async def fetch(report: Callable[[DownloadProgress | StartFinalizing], None]) -> Model:
            return await self._library.fetch_option(
                option,
                lambda progress: report(download_progress(progress)),
                lambda: report(StartFinalizing()),
            )

        await reporting(fetch, self._channel.send)

    async def _unless_cancelled(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of ``work``; cancel it and raise :class:`DownloadError` if the client cancels."""
        task = asyncio.ensure_future(work)
        request: asyncio.Task[wire.PlanRequest] | None = None
        try:
            while True:
                request = asyncio.ensure_future(self._channel.requests.get())
                await asyncio.wait({task, request}, return_when=asyncio.FIRST_COMPLETED)
                if request.done():
                    if isinstance(request.result(), wire.Cancel | wire.CancelPlan | wire.CancelDownload):
                        raise self._cancelled("download")
                    self._waiting.append(request.result())
                if task.done():
                    return task.result()
        finally:
            for each in (task, request):
                if each is not None:
                    each.cancel()
                    await asyncio.wait([each])
            if not task.cancelled():
                task.exception()  # a cancel comes before the error of work that failed at the same time

    def _cancelled(self, what: str) -> DownloadError:
        return DownloadError(f"The {what} of {self._label} was cancelled")

    def _select(self, plan: DownloadPlan, request: wire.SelectOption) -> None:
        if request.node_index != len(self._nodes(self._unresolved())) - 1:
            raise ProtocolError(f"Node {request.node_index} of the plan is not a model, or does not exist")
        plan.select(request.selected_download_option_index)
        plan.version = max(plan.version, request.requested_plan_version)

    def _unresolved(self) -> wire.ModelNode:
        return wire.ModelNode(state="fetching", dependency_label=self._label, resolved_sources=0, total_sources=1)

    def _nodes(self, node: wire.ModelNode) -> list[wire.ArtifactNode | wire.ModelNode]:
        """Return the nodes of the plan; ``node``, the model, is the last."""
        if self._artifact is None:
            return [node]
        owner, name = (part.casefold() for part in self._artifact)
        root = wire.ArtifactNode(owner=owner, name=name, state=node.state, dependency_nodes=[1], artifact_type="model")
        return [root, node]

    def _encoded(self, plan: DownloadPlan) -> wire.Plan:
        state = "completed" if plan.model is None else "satisfied"
        owned = None if plan.owned is None else _model_info(plan.options[plan.owned], plan.models[plan.owned])
        node = wire.ModelNode(
            state=state,
            dependency_label=self._label,
            resolved_sources=1,
            total_sources=1,
            already_owned=owned,
            selected=_model_info(plan.choice, plan.model),
            download_options=[self._option(plan, number) for number in range(len(plan.options))],
            selected_download_option_index=plan.selected,
            recommended_download_option_index=plan.recommended,
        )
        if plan.model is not None:
            return wire.Plan(nodes=self._nodes(node), version=plan.version)
        attaches = self._library.is_fetching(plan.choice)
        return wire.Plan(
            nodes=self._nodes(node),
            download_size_bytes=plan.choice.size_bytes,
            download_action="attachToExistingDownload" if attaches else "startNewDownload",
            download_job_identifier=plan.choice.path,
            version=plan.version,
        )

    def _option(self, plan: DownloadPlan, number: int) -> wire.PlanOption:
        option = plan.options[number]
        return wire.PlanOption(
            display_name=option.name,
            size_bytes=option.size_bytes,
            quant_name=option.quantization,
            compatibility_type=FORMAT,
            fit_estimation=option.fit,
            availability=availability(self._library, plan, number),
            recommended=number == plan.recommended,
        )


def _model_info(option: DownloadOption, model: Model | None) -> wire.PlanModelInfo:
    return wire.PlanModelInfo(
        display_name=model.display_name if model else option.name,
        size_bytes=option.size_bytes or (model.size_bytes if model else 0),
        quant_name=option.quantization,
        compatibility_type=FORMAT,
        model_key=model.key if model else None,
    )
