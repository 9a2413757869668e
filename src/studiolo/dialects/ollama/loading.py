"""Requests without a prompt, which load a model or unload it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from ...domain.models import Domain
from ...host.names import named
from ..http.answers import Answer, Whole
from ..http.endpoint import Call
from ..http.generation import leased, reference
from ..http.models import known_model
from .answering import Form, head, nanoseconds
from .asking import Asking
from .keep_alive import keep


async def load_or_unload(call: Call[Any], body: Asking, name: str, form: Form) -> Answer:
    """Load the model that a request without a prompt names, or unload it where ``keep_alive`` is 0."""
    keep_sec = body.keep_sec
    model = await known_model(call, name)
    began = time.perf_counter()
    if keep_sec == 0:
        await unload(call, name, model.domain or "llm")
        reason = "unload"
    else:
        async with leased(call, name, "llm", body.load_request(model, explicit=True)) as lease:
            keep(lease.instance, keep_sec)
        reason = "load"
    took = nanoseconds(time.perf_counter() - began)
    durations = {"total_duration": took, "load_duration": took if reason == "load" else 0}
    return Whole({**head(body.model), **form("", "", []), "done": True, "done_reason": reason, **durations})


async def unload(call: Call[Any], name: str, domain: Domain) -> None:
    """Unload the model that ``name`` means, when its last use has ended; nothing happens where it is not loaded."""
    instance = await call.host.find_loaded(await reference(call, name), domain)
    if instance is None:
        return
    instance.keep_for(0.0)
    if (unloading := instance.drain("by a client (keep_alive 0)")) is not None:
        await asyncio.shield(unloading)


async def unload_all(call: Call[Any], name: str) -> None:
    """Unload every instance of the model that ``name`` means, whatever uses it."""
    path = (await call.host.find_model(await named(call.host, name))).path
    for instance in call.host.instances.all():
        if instance.model_path == path:
            await call.host.instances.unload(instance)
