"""The endpoints that the ``llm`` and ``embedding`` namespaces share."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

import msgspec

from ...config import LoadConfig
from ...config.mismatch import Mismatch, described
from ...domain.models import ModelReference
from ...domain.progress import HEARTBEAT_SEC, DownloadProgress
from ...errors import ModelNotFoundError
from ...host.instance import Instance
from ...host.lease import Lease
from ...host.load_progress import LoadWatcher
from ...host.machine import check_device
from ...host.not_found import not_loaded
from ...host.on_demand import LoadRequest
from ...host.setting_origins import settings_in_force
from ...library.model import Model
from ...protocol import models as wire
from ...protocol.kv import (
    KvConfig,
    KvConfigStack,
    decode_load_config,
    encode_load_config,
    encode_prediction_config,
    flatten,
    log_ignored_keys,
)
from ...protocol.load_plan import GET_LOAD_SETTINGS, PLAN_LOAD, LoadPlan, SettingInForce
from .context import Context, ServerChannel
from .encoding import (
    instance_info,
    load_plan,
    model_info,
    model_reference,
    processing_state,
    setting_in_force,
    usage_estimate,
)
from .progress import reporting
from .registry import channel, rpc

BOTH = ("llm", "embedding")


@channel(wire.LOAD_MODEL, *BOTH)
async def load_model(
    context: Context, parameter: wire.LoadModelParameter, channel: ServerChannel[wire.LoadModelMessage]
) -> None:
    check_device(parameter.device_identifier)
    config = _load_config(context, parameter.load_config_stack)
    sets_domain = bool(parameter.sets_domain)
    model = await context.host.find_model(parameter.model_key, context.domain, sets_domain=sets_domain)
    await channel.send(wire.LoadResolved(info=model_info(model)))

    async def load(report: Callable[[wire.LoadModelMessage], None]) -> Instance:
        return await context.host.load(
            model,
            config,
            identifier=parameter.identifier,
            ttl_sec=_seconds(parameter.ttl_ms),
            watcher=LoadWatcher(on_progress=lambda progress: report(wire.LoadProgress(progress=progress))),
        )

    instance = await reporting(load, channel.send, heartbeat_sec=HEARTBEAT_SEC)
    await channel.send(wire.LoadSuccess(info=instance_info(instance)))


@channel(wire.GET_OR_LOAD, *BOTH)
async def get_or_load(
    context: Context, parameter: wire.GetOrLoadParameter, channel: ServerChannel[wire.GetOrLoadMessage]
) -> None:
    check_device(parameter.device_identifier)
    config = _load_config(context, parameter.load_config_stack)
    loading = False
    warnings: list[str] = []

    async def get(report: Callable[[wire.GetOrLoadMessage], None]) -> Instance:
        def started(model: Model) -> None:
            nonlocal loading
            loading = True
            report(wire.StartLoading(identifier=parameter.identifier or model.key, info=model_info(model)))

        def fetching(name: str, update: DownloadProgress) -> None:
            report(
                wire.Fetching(
                    model_key=name,
                    downloaded_bytes=update.downloaded_bytes,
                    total_bytes=update.total_bytes,
                    speed_bytes_per_second=update.speed_bytes_per_second,
                )
            )

        def report_mismatch(instance: Instance, found: Sequence[Mismatch]) -> None:
            if parameter.on_mismatch is None:
                warnings.append(described(instance.identifier, found))
            else:
                report(
                    wire.LoadMismatch(identifier=instance.identifier, mismatches=[_mismatch(each) for each in found])
                )

        request = LoadRequest(
            config=config,
            ttl_sec=_seconds(parameter.load_ttl_ms),
            explicit=True,
            sets_domain=bool(parameter.sets_domain),
            compares_ttl=bool(parameter.compares_ttl),
            on_mismatch=parameter.on_mismatch or "keep",
            watcher=LoadWatcher(
                on_fetch=fetching,
                on_evict=lambda instance: report(wire.UnloadingOtherModel(info=instance_info(instance))),
                on_start=started,
                on_progress=lambda progress: report(wire.GetOrLoadProgress(progress=progress)),
                on_mismatch=report_mismatch,
            ),
        )
        reference = ModelReference(name=parameter.identifier, domain=context.domain if parameter.sets_domain else None)
        async with context.host.lease(reference, context.domain, context.client, request) as lease:
            return lease.instance

    info = instance_info(await reporting(get, channel.send, heartbeat_sec=HEARTBEAT_SEC))
    for warning in warnings:
        await channel.warn(warning)
    await channel.send(wire.GetOrLoadSuccess(info=info) if loading else wire.AlreadyLoaded(info=info))


@rpc(wire.UNLOAD_MODEL, *BOTH)
async def unload_model(context: Context, parameter: wire.UnloadModelParameter) -> None:
    check_device(parameter.device_identifier)
    await context.host.unload(parameter.identifier)


@rpc(wire.LIST_LOADED, *BOTH)
async def list_loaded(context: Context, _: None) -> list[wire.ModelInstanceInfo]:
    return [instance_info(instance) for instance in await context.host.list_loaded(context.domain)]


@rpc(wire.GET_MODEL_INFO, *BOTH)
async def get_model_info(context: Context, parameter: wire.GetModelInfoParameter) -> wire.ModelInstanceInfo | None:
    reference = model_reference(parameter.specifier)
    if reference.is_any and parameter.throw_if_not_found:
        return instance_info(await _loaded(context, parameter.specifier))
    instance = await context.host.find_loaded(reference, context.domain)
    if instance is not None:
        return instance_info(instance)
    if not parameter.throw_if_not_found:
        return None
    raise _not_loaded(context, reference.wanted)


@rpc(wire.GET_LOAD_CONFIG, *BOTH)
async def get_load_config(context: Context, parameter: wire.SpecifierParameter) -> KvConfig:
    instance = await _loaded(context, parameter.specifier)
    return encode_load_config(instance.config, context.domain)


@rpc(wire.GET_BASE_PREDICTION_CONFIG, *BOTH)
async def get_base_prediction_config(context: Context, parameter: wire.BasePredictionConfigParameter) -> KvConfig:
    """Return what is in force where a request leaves everything open; nothing for an embedding model."""
    instance = await _loaded(context, parameter.specifier)
    if context.domain == "embedding":
        return KvConfig(fields=[])
    return encode_prediction_config(context.host.base_prediction_config(instance))


@rpc(wire.GET_PROCESSING_STATE, *BOTH)
async def get_instance_processing_state(
    context: Context, parameter: wire.GetProcessingStateParameter
) -> wire.ProcessingState:
    reference = model_reference(parameter.specifier)
    found = await context.host.find_loaded(reference, context.domain)
    if found is None:
        if parameter.throw_if_not_found:
            raise _not_loaded(context, reference.wanted)
        return wire.ProcessingState("idle", 0)
    return processing_state(found)


@rpc(wire.ESTIMATE_USAGE, *BOTH)
async def estimate_model_usage(context: Context, parameter: wire.EstimateUsageParameter) -> wire.UsageEstimate:
    check_device(parameter.device_identifier)
    config = _load_config(context, parameter.load_config_stack)
    model = await context.host.find_model(parameter.model_key, context.domain)
    return usage_estimate(await context.host.estimate(model, config))


@rpc(PLAN_LOAD, *BOTH)
async def plan_load(context: Context, parameter: wire.EstimateUsageParameter) -> LoadPlan:
    check_device(parameter.device_identifier)
    config = _load_config(context, parameter.load_config_stack)
    model = await context.host.find_model(parameter.model_key, context.domain)
    return load_plan(*await context.host.instances.plan(model, config))


@rpc(GET_LOAD_SETTINGS, *BOTH)
async def get_load_settings(context: Context, parameter: wire.SpecifierParameter) -> list[SettingInForce]:
    reference = model_reference(parameter.specifier)
    instance = await context.host.find_loaded(reference, context.domain)
    if instance is None:
        raise _not_loaded(context, reference.wanted)
    return [setting_in_force(each) for each in settings_in_force(instance.config, instance.origins)]


@rpc(wire.TOKENIZE, *BOTH)
async def tokenize(context: Context, parameter: wire.TextParameter) -> wire.Tokens:
    async with _lease(context, parameter.specifier) as lease:
        return wire.Tokens(tokens=await lease.tokenize(parameter.input_string))


@rpc(wire.COUNT_TOKENS, *BOTH)
async def count_tokens(context: Context, parameter: wire.TextParameter) -> wire.TokenCount:
    async with _lease(context, parameter.specifier) as lease:
        count = len(await lease.tokenize(parameter.input_string))
        if context.domain == "embedding":  # LM Studio's counts leave out the tokens that are put around every text
            count -= len(await lease.call(lambda engine: engine.tokenize("")))
    return wire.TokenCount(token_count=count)


async def _loaded(context: Context, specifier: wire.ModelSpecifier) -> Instance:
    """Return the instance that a specifier means, loaded where it is not."""
    async with _lease(context, specifier) as lease:
        return lease.instance


def _lease(context: Context, specifier: wire.ModelSpecifier) -> contextlib.AbstractAsyncContextManager[Lease]:
    return context.host.lease(model_reference(specifier), context.domain, context.client)


def _mismatch(found: Mismatch) -> wire.SettingMismatch:
    return wire.SettingMismatch(
        name=found.name, asked=msgspec.to_builtins(found.asked), in_force=msgspec.to_builtins(found.in_force)
    )


def _not_loaded(context: Context, wanted: str | None) -> ModelNotFoundError:
    instances = context.host.instances
    return not_loaded(wanted, instances.loaded(), instances.departures)


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _load_config(context: Context, stack: KvConfigStack) -> LoadConfig:
    settings = flatten(stack)
    log_ignored_keys(settings, f"{context.domain}.load")
    return decode_load_config(settings, context.domain)
