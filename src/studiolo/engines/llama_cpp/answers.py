"""The answers of llama-server to calls that do not stream, decoded and checked.

A server may answer anything: an error, the page of a proxy, half an object, a vector with a NaN. Whatever it is, the
caller gets an error of studiolo's that says what was asked and what is wrong with the answer.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, TypeVar, cast

import msgspec

from ...domain.embeddings import Relevance
from ...errors import PredictionError, PromptTooLongError
from ...struct_types import examined

QUOTED_BYTES = 200
"""How much of an answer that cannot be read an error quotes."""

MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What the decoders raise for an answer that is something else; :class:`RecursionError` for one nested too deeply."""

Count = Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]
"""A number of tokens, or of a token: a larger one could not be sent on."""

T = TypeVar("T")


class Fault(msgspec.Struct):
    """What an engine says is wrong."""

    message: str = "no reason given"
    type: str = ""
    n_prompt_tokens: Count | None = None
    n_ctx: Count | None = None


class _Failure(msgspec.Struct):
    error: Fault


class Tokens(msgspec.Struct):
    """The answer of ``/tokenize``."""

    tokens: list[Count]


class Rendered(msgspec.Struct):
    """The answer of ``/apply-template``."""

    prompt: str


class Content(msgspec.Struct):
    """The answer of ``/detokenize``."""

    content: str


class Embedding(msgspec.Struct):
    """The vector of one text."""

    embedding: list[float]
    index: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: Count = 0


class EmbeddingList(msgspec.Struct):
    """The answer of ``/v1/embeddings``."""

    data: list[Embedding]
    usage: _Usage = msgspec.field(default_factory=_Usage)


class _Score(msgspec.Struct):
    index: int
    relevance_score: float


class _Ranking(msgspec.Struct):
    """The answer of ``/v1/rerank``."""

    results: list[_Score]
    usage: _Usage = msgspec.field(default_factory=_Usage)


class TemplateFacts(msgspec.Struct):
    """``chat_template_caps``; servers without it have no tools."""

    supports_tools: bool = False
    supports_tool_calls: bool = False


class Props(msgspec.Struct):
    """The answer of ``/props``."""

    bos_token: str = ""
    eos_token: str = ""
    media_marker: str = "<__media__>"
    chat_template_caps: TemplateFacts = msgspec.field(default_factory=TemplateFacts)


class Slot(msgspec.Struct):
    """One of the answers of ``/slots``."""

    speculative: bool = True  # servers that do not report it are trusted


class _ModelMeta(msgspec.Struct):
    n_vocab: Count | None = None


class _Model(msgspec.Struct):
    meta: _ModelMeta | None = None


class Models(msgspec.Struct):
    """The answer of ``/v1/models``."""

    data: list[_Model] = msgspec.field(default_factory=list[_Model])

    @property
    def vocabulary_size(self) -> int | None:
        """Return the number of the model's tokens; ``None`` where the server does not say."""
        meta = self.data[0].meta if self.data else None
        return meta.n_vocab if meta else None


def decode(asked: str, body: bytes, kind: type[T]) -> T:
    """Return the answer ``body`` to the call ``asked``. Raise :class:`PredictionError` if it is something else."""
    try:
        return msgspec.json.decode(body, type=examined(kind))
    except MALFORMED as error:
        raise unreadable(asked, body, str(error)) from None


def checked(asked: str, status: int, body: bytes) -> bytes:
    """Return the ``body`` of an answer whose HTTP status is 200. Raise :class:`PredictionError` for any other."""
    if status != 200:
        raise refusal(asked, status, body)
    return body


def unreadable(asked: str, body: bytes, why: str) -> PredictionError:
    """Return the error for an answer that is not what llama-server answers to ``asked``."""
    return PredictionError(
        f"The engine's answer to {asked} cannot be read",
        cause=f"{why}. {quoted(body)}",
        suggestion="Repeat the request; if it fails again, the engine's log (studiolo log) may say more.",
    )


def quoted(body: bytes) -> str:
    """Return the beginning of an answer, for an error."""
    if not body:
        return "The answer is empty."
    text = body[:QUOTED_BYTES].decode(errors="replace")
    return f"The answer begins with {text!r}." if len(body) > QUOTED_BYTES else f"The answer is {text!r}."


def refusal(asked: str, status: int, body: bytes) -> PredictionError:
    """Return the error for an answer with an HTTP status that is not 200."""
    try:
        return fault_error(msgspec.json.decode(body, type=examined(_Failure)).error)
    except MALFORMED:
        cause = f"It answered {asked} with the HTTP status {status}. {quoted(body)}"
        return PredictionError("The engine refused the request", cause=cause)


def fault_error(fault: Fault) -> PredictionError:
    """Return the error for what an engine says is wrong."""
    if fault.type == "exceed_context_size_error":
        return too_long(fault.n_prompt_tokens, fault.n_ctx)
    return PredictionError("The engine refused the request", cause=fault.message)


def too_long(tokens: int | None, context: int | None, position: str = "") -> PromptTooLongError:
    """Return the error for a prompt that does not fit, or for the text at ``position`` among several."""
    return PromptTooLongError(
        f"{position or 'The prompt'} has {tokens} tokens, and the model is loaded with a context of {context}",
        suggestion="Shorten the prompt, or load the model with a longer context_length.",
        data={"promptTokensCount": tokens, "contextLength": context},
    )


def position_of(index: int, count: int) -> str:
    """Return how an error names a text; empty for the only one."""
    return "" if count == 1 else f"Text {index + 1} of {count}"


def embeddings(body: bytes, count: int, first: int, total: int, length: int | None) -> EmbeddingList:
    """Return the checked answer to a request for the vectors of ``count`` texts, in the order of the texts.

    Parameters:
        first, total: the position of the first of them among all texts of the call, and how many those are.
        length: numbers in a vector of this model; ``None`` before the first one.

    Raises:
        PredictionError: a vector is missing, has another length, or is not made of finite numbers.
    """
    try:
        answer = msgspec.json.decode(body, type=examined(EmbeddingList))
    except MALFORMED as error:
        for index, numbers in _raw_vectors(body):
            if not _is_finite(numbers):
                raise _not_finite(first + index, total) from None
        raise unreadable("/v1/embeddings", body, str(error)) from None
    order = [place if each.index is None else each.index for place, each in enumerate(answer.data)]
    if sorted(order) != list(range(count)):
        raise unreadable("/v1/embeddings", body, f"It has {len(answer.data)} vectors, and {count} were asked for")
    answer.data = [each for _, each in sorted(zip(order, answer.data, strict=True), key=lambda pair: pair[0])]
    for index, each in enumerate(answer.data, first):
        expected = length or len(answer.data[0].embedding)
        if not each.embedding or len(each.embedding) != expected:
            raise PredictionError(
                f"The engine's vector of {position_of(index, total).lower() or 'the text'} has another length",
                cause=f"It has {len(each.embedding)} numbers, and the model's vectors have {expected or 'some'}.",
            )
        if not math.isfinite(sum(each.embedding)):
            raise _not_finite(index, total)
    return answer


def relevance(body: bytes, count: int) -> Relevance:
    """Return the checked answer to a request for the scores of ``count`` texts, in the order of the texts.

    Raises:
        PredictionError: a score is missing, or is not a finite number.
    """
    try:
        answer = msgspec.json.decode(body, type=examined(_Ranking))
    except MALFORMED as error:
        raise unreadable("/v1/rerank", body, str(error)) from None
    scores = {each.index: each.relevance_score for each in answer.results}
    if sorted(scores) != list(range(count)) or not all(map(math.isfinite, scores.values())):
        raise unreadable("/v1/rerank", body, f"It has no score for each of the {count} texts")
    return Relevance([scores[index] for index in range(count)], answer.usage.prompt_tokens)


def _raw_vectors(body: bytes) -> Iterator[tuple[int, Sequence[Any]]]:
    """Yield what is in the places of vectors in an answer that may have NaN, which JSON has not, or null."""
    try:
        data: Any = json.loads(body)["data"]
        for place, each in enumerate(data):
            index: Any = each.get("index", place)
            yield (index if isinstance(index, int) else place), each["embedding"]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return


def _is_finite(numbers: Any) -> bool:
    """Whether there is no null, NaN or infinity in what should be a vector."""
    if not isinstance(numbers, list):
        return True  # not a vector at all
    for number in cast("list[Any]", numbers):
        if number is None or (isinstance(number, float) and not math.isfinite(number)):
            return False
    return True


def _not_finite(index: int, total: int) -> PredictionError:
    return PredictionError(
        f"The vector of {position_of(index, total).lower() or 'the text'} has a NaN",
        cause="Not all of its numbers are finite: a fault of the model or of its precision.",
        suggestion="Use a file of the model in another precision (f32, bf16 or q8_0), or change the text.",
    )
