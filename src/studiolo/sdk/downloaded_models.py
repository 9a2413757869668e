"""Models on the host's disk: what is known of them, and a way to load them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..protocol import models as wire
from .async_models import AsyncEmbeddingModel, AsyncLLM, AsyncModelHandle
from .async_namespaces import DEFAULT_TTL_SEC, AsyncModelNamespace, LoadConfigInput, OnLoadProgress

if TYPE_CHECKING:
    from .sync_client import ModelNamespace
    from .sync_models import LLM, EmbeddingModel, ModelHandle  # noqa: F401

A = TypeVar("A", bound=AsyncModelHandle)
H = TypeVar("H", bound="ModelHandle[Any]")


class DownloadedBase:
    """What is known of a model on the host's disk.

    Parameters:
        info: all of it.
    """

    def __init__(self, info: wire.ModelInfo) -> None:
        self.info = info

    def __repr__(self) -> str:
        shown = ["model_key", "display_name", "architecture", "params_string", "size_bytes"]
        if isinstance(self.info, wire.LlmInfo):
            shown.append("vision")
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self.info, name)!r}' for name in shown)})"

    @property
    def type(self) -> str:
        """``llm`` or ``embedding``."""
        return self.info.type

    @property
    def path(self) -> str:
        """Relative to the models folder, with forward slashes; absolute for a file elsewhere."""
        return self.info.path

    @property
    def model_key(self) -> str:
        """The key to load it by."""
        return self.info.model_key


class AsyncDownloadedModel(DownloadedBase, Generic[A]):
    """A model on the host's disk, in the async API."""

    def __init__(self, info: wire.ModelInfo, namespace: AsyncModelNamespace[A]) -> None:
        super().__init__(info)
        self._namespace = namespace

    async def model(
        self,
        *,
        ttl: int | None = DEFAULT_TTL_SEC,
        config: LoadConfigInput | None = None,
        on_load_progress: OnLoadProgress | None = None,
    ) -> A:
        """A handle of this model, which is loaded where it is not yet; see :meth:`AsyncModelNamespace.model`."""
        return await self._namespace.model(self.model_key, ttl=ttl, config=config, on_load_progress=on_load_progress)

    async def load_new_instance(
        self,
        *,
        ttl: int | None = DEFAULT_TTL_SEC,
        instance_identifier: str | None = None,
        config: LoadConfigInput | None = None,
        on_load_progress: OnLoadProgress | None = None,
    ) -> A:
        """Load this model once more; see :meth:`AsyncModelNamespace.load_new_instance`."""
        return await self._namespace.load_new_instance(
            self.model_key, instance_identifier, ttl=ttl, config=config, on_load_progress=on_load_progress
        )


class AsyncDownloadedLlm(AsyncDownloadedModel[AsyncLLM]):
    """An LLM on the host's disk, in the async API."""


class AsyncDownloadedEmbeddingModel(AsyncDownloadedModel[AsyncEmbeddingModel]):
    """An embedding model on the host's disk, in the async API."""


class DownloadedModel(DownloadedBase, Generic[H]):
    """A model on the host's disk."""

    def __init__(self, info: wire.ModelInfo, namespace: ModelNamespace[Any, H]) -> None:
        super().__init__(info)
        self._namespace = namespace

    def model(
        self,
        *,
        ttl: int | None = DEFAULT_TTL_SEC,
        config: LoadConfigInput | None = None,
        on_load_progress: OnLoadProgress | None = None,
    ) -> H:
        """See :meth:`AsyncDownloadedModel.model`."""
        return self._namespace.model(self.model_key, ttl=ttl, config=config, on_load_progress=on_load_progress)

    def load_new_instance(
        self,
        *,
        ttl: int | None = DEFAULT_TTL_SEC,
        instance_identifier: str | None = None,
        config: LoadConfigInput | None = None,
        on_load_progress: OnLoadProgress | None = None,
    ) -> H:
        """See :meth:`AsyncDownloadedModel.load_new_instance`."""
        return self._namespace.load_new_instance(
            self.model_key, instance_identifier, ttl=ttl, config=config, on_load_progress=on_load_progress
        )


class DownloadedLlm(DownloadedModel["LLM"]):
    """An LLM on the host's disk."""


class DownloadedEmbeddingModel(DownloadedModel["EmbeddingModel"]):
    """An embedding model on the host's disk."""


AnyAsyncDownloadedModel = AsyncDownloadedLlm | AsyncDownloadedEmbeddingModel
AnyDownloadedModel = DownloadedLlm | DownloadedEmbeddingModel
