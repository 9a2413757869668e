"""Changes of the library: pull, delete, copy and create models; what is refused of Ollama's registry."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from ...config.prediction import JinjaPromptTemplate, PromptTemplate
from ...domain.progress import DownloadProgress
from ...errors import InvalidRequestError, StudioloError
from ...host.derived_models import DerivedModel
from ...host.names import derived, named
from ...library.download_options import DownloadOption, recommended
from ...library.model_import import plan_removal, remove
from ..http.answers import NDJSON, Answer, Streamed, Whole, ndjson
from ..http.endpoint import Call
from ..http.fields import Field, honoured, ignored, refused, wrong
from ..http.models import check_download, known_model
from ..http.produced import produced
from .errors import failure_line
from .loading import unload_all
from .names import known, required, untagged
from .options import Options, option_fields
from .template import is_jinja

NO_CONTENT = "text/plain; charset=utf-8"
"""The content type of an answer without content."""

_NAME = re.compile(r"[\w][\w.\-/:@+ ]{0,199}")


class Progress(Struct, kw_only=True):
    """How far a request is: the whole answer, or a line of a stream."""

    status: str
    digest: str | UnsetType = UNSET
    total: int | UnsetType = UNSET
    completed: int | UnsetType = UNSET


class PullBody(Struct, kw_only=True):
    """The body of a request to download a model."""

    model: str = ""
    name: str = ""
    stream: bool = True


class DeleteBody(Struct, kw_only=True):
    """The body of a request to delete a model."""

    model: str = ""
    name: str = ""


class CopyBody(Struct, kw_only=True):
    """The body of a request for another name of a model."""

    source: str
    destination: str


class CreateBody(Struct, kw_only=True, rename={"from_": "from"}):
    """The body of a request to derive a model from another."""

    model: str = ""
    name: str = ""
    from_: str = ""
    system: str = ""
    template: str = ""
    license: str | list[str] = ""
    parameters: Options | None = None
    stream: bool = True


_REGISTRY = "There is no registry to send models to."
_BLOBS = "Files are not uploaded: studiolo import adds them to the library."

PULL_FIELDS: dict[str, Field] = {
    "model": honoured(
        "A name of the catalog, or owner/repo on the hub, also after hf.co/ and with a quantisation after a colon."
    ),
    "name": honoured("Deprecated: as model."),
    "stream": honoured("true, the default: the progress, a line of JSON each."),
    "insecure": refused("Models come over connections that are checked.", False),
    "username": ignored("Ollama does not read it any more."),
    "password": ignored("Ollama does not read it any more."),
}
DELETE_FIELDS: dict[str, Field] = {
    "model": honoured("The key of a model in the library, or the name of a derived one."),
    "name": honoured("Deprecated: as model."),
}
COPY_FIELDS: dict[str, Field] = {
    "source": honoured("The model."),
    "destination": honoured("Its further name, which all HTTP dialects know."),
}
CREATE_FIELDS: dict[str, Field] = {
    "model": honoured("The name of the derived model, which all HTTP dialects know."),
    "name": honoured("Deprecated: as model."),
    "from": honoured("The model that it is derived from: the same weights."),
    "system": honoured("The system prompt of chats without one."),
    "template": honoured("The chat template, in Jinja."),
    "license": honoured("Text that /api/show shows."),
    "parameters": honoured("Options of requests that set none."),
    **option_fields("parameters"),
    "stream": honoured("true, the default: the progress, a line of JSON each."),
    "quantize": refused("Weights are not converted."),
    "files": refused(_BLOBS, {}),
    "adapters": refused("Set them as load.lora of the model in config.toml.", {}),
    "messages": refused("Send them with each chat.", []),
    "modelfile": refused("Send from, parameters, system and template."),
    "path": refused("Send from, parameters, system and template."),
    "quantization": refused("Weights are not converted."),
}
PUSH_FIELDS: dict[str, Field] = {
    "model": refused(_REGISTRY),
    "name": refused(_REGISTRY),
    "insecure": refused(_REGISTRY, False),
    "stream": ignored("The request is refused."),
}


class PushBody(Struct):
    """The body of a request to upload a model."""


async def pull(call: Call[PullBody]) -> Answer:
    """Download a model."""
    body = call.body
    name = required(body.model, body.name)
    return await _progressing(body.stream, _pulled(call, name))


async def delete(call: Call[DeleteBody]) -> Answer:
    """Delete a model from the library, or a derived one."""
    name = required(call.body.model, call.body.name)
    host = call.host
    found = await known(call, name, any_name=False)
    if found in host.settings.current().server.aliases:
        raise wrong("model", f"{name!r} is an alias", "Remove it from server.aliases in config.toml.")
    if host.derived.get(found) is not None:
        await host.derived.delete(found)
        return Whole(b"", media_type=NO_CONTENT)
    model = await known_model(call, found)
    if model.variants and found.casefold() != model.key.casefold() and found.casefold() == model.group.casefold():
        raise wrong("model", f"{name!r} means several files", f"Name one: {', '.join(model.variants)}.")
    files = plan_removal(host.home, model, await host.library.models())
    await unload_all(call, found)
    await asyncio.to_thread(remove, host.home, files)
    return Whole(b"", media_type=NO_CONTENT)


async def copy(call: Call[CopyBody]) -> Answer:
    """Give a model a further name."""
    source = await known(call, call.body.source)
    name = await _free_name(call, call.body.destination, "destination")
    before = derived(call.host, source)
    made = before or DerivedModel(name=name, source=(await known_model(call, source)).key)
    await call.host.derived.put(replace(made, name=name, created=time.time()))
    return Whole(b"", media_type=NO_CONTENT)


async def create(call: Call[CreateBody]) -> Answer:
    """Derive a model from another."""
    body = call.body
    name = await _free_name(call, required(body.model, body.name), "model")
    if not body.from_:
        raise wrong("from", "missing")
    source = await known(call, body.from_)
    model, before = await known_model(call, source), derived(call.host, source)
    options = body.parameters or Options()
    load, prediction = options.load_config(model), options.prediction_config("parameters")
    if body.system:
        prediction.system_prompt = body.system
    if body.template:
        if not is_jinja(body.template):
            raise wrong("template", "expected a chat template in Jinja")
        jinja = JinjaPromptTemplate(template=body.template)
        prediction.prompt_template = PromptTemplate(type="jinja", jinja_prompt_template=jinja)
    terms = body.license if isinstance(body.license, str) else "\n".join(body.license)
    made = DerivedModel(
        name=name,
        source=before.source if before else model.key,
        load=before.load_config(load) if before else load,
        prediction=before.settings(prediction, is_chat=True) if before else prediction,
        license=terms or (before.license if before else ""),
        created=time.time(),
    )

    async def lines() -> AsyncGenerator[Progress, None]:
        yield Progress(status=f"using {made.source}")
        await call.host.derived.put(made)
        yield Progress(status="success")

    return await _progressing(body.stream, lines())


async def push(call: Call[PushBody]) -> Answer:
    """Refuse to upload a model."""
    raise InvalidRequestError("push is not supported", cause=_REGISTRY)


async def blob(call: Call[None]) -> Answer:
    """Refuse to take a file."""
    raise InvalidRequestError("blobs are not supported", cause=_BLOBS)


async def _free_name(call: Call[Any], name: str, param: str) -> str:
    """Return a name for a derived model, without the tag latest. Raise :class:`InvalidRequestError` for a taken one."""
    plain = untagged(name)
    if _NAME.fullmatch(plain) is None:
        raise wrong(param, f"{plain[:40]!r} is no name", "Use letters, digits and . - _ / : @ +, at most 200.")
    if plain in call.host.settings.current().server.aliases:
        raise wrong(param, f"{plain!r} is an alias of the server", "Choose another name.")
    await call.host.library.models()
    if call.host.library.known_names.has(plain):
        raise wrong(param, f"{plain!r} is a model in the library", "Choose another name.")
    return plain


async def _progressing(stream: bool, lines: AsyncGenerator[Progress, None]) -> Answer:
    if stream:
        return Streamed(_encoded(lines), NDJSON, failure_line)
    last = Progress(status="success")
    async for line in lines:
        last = line
    return Whole(last)


async def _encoded(lines: AsyncGenerator[Progress, None]) -> AsyncGenerator[bytes, None]:
    try:
        async for line in lines:
            yield ndjson(line)
    finally:
        await lines.aclose()


async def _pulled(call: Call[Any], name: str) -> AsyncGenerator[Progress, None]:
    library = call.host.library
    wanted = _download_name(name)
    try:
        await named(call.host, wanted, any_name=False)
    except StudioloError:
        options = await library.download_options(wanted)
    else:
        yield Progress(status="pulling manifest")
        yield Progress(status="success")
        return
    yield Progress(status="pulling manifest")
    async for line in _downloaded(library.fetch_option, recommended(options)):
        yield line
    yield Progress(status="success")


async def _downloaded(fetch: Callable[..., Awaitable[Any]], option: DownloadOption) -> AsyncGenerator[Progress, None]:
    """Download ``option``, and yield how far that is; a client that leaves stops it."""
    known_hash = next((file.sha256 for file in option.files if file.sha256), None)
    label = f"sha256:{known_hash}" if known_hash else UNSET
    status = f"pulling {known_hash[:12] if known_hash else option.identifier}"

    async def run(lines: asyncio.Queue[Progress]) -> None:
        def report(progress: DownloadProgress) -> None:
            total = progress.total_bytes or UNSET
            lines.put_nowait(Progress(status=status, digest=label, total=total, completed=progress.downloaded_bytes))

        await fetch(option, report, lambda: lines.put_nowait(Progress(status="verifying sha256 digest")))

    async with contextlib.aclosing(produced(run)) as lines:
        async for line in lines:
            yield line


def _download_name(name: str) -> str:
    """Return the name of a download as the library has it. Raises as :func:`check_download`."""
    plain = re.sub(r"^(hf\.co|huggingface\.co)/", "", untagged(name), flags=re.IGNORECASE)
    check_download(plain)
    repository, colon, quantization = plain.rpartition(":")
    return f"{repository}@{quantization.lower()}" if colon and "://" not in plain else plain
