"""The options of Ollama's requests: what they mean to a load and to a prediction."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from ...config import LoadConfig, PredictionConfig
from ...config.load import GpuSetting
from ...config.prediction import MirostatSetting
from ...library.model import Model
from ...platform.processors import usable_processors
from ..http.fields import Field, honoured, ignored, refused, wrong

SEEDS = 2**32
"""Seeds are taken modulo this."""

Fraction = Annotated[float, Meta(ge=0, le=1)]
Amount = Annotated[float, Meta(ge=0, le=1e30)]
Penalty = Annotated[float, Meta(ge=-1e30, le=1e30)]


class LoadOptions(Struct, kw_only=True):
    """The options of a load; ``None`` for what the model's own settings decide."""

    num_ctx: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    num_batch: Annotated[int, Meta(ge=1, le=2**20)] | None = None
    num_gpu: Annotated[int, Meta(ge=-1)] | None = None
    main_gpu: Annotated[int, Meta(ge=0)] | None = None
    f16_kv: bool | None = None
    use_mmap: bool | None = None
    use_mlock: bool | None = None
    num_thread: Annotated[int, Meta(ge=0, le=512)] | None = None

    def load_config(self, model: Model) -> LoadConfig:
        """Return how ``model`` is loaded for these; only what they say."""
        config = LoadConfig(
            context_length=self.num_ctx,
            eval_batch_size=self.num_batch,
            use_fp16_for_kv_cache=self.f16_kv,
            try_mmap=self.use_mmap,
            keep_model_in_memory=self.use_mlock,
            cpu_thread_pool_size=min(self.num_thread, usable_processors().count) if self.num_thread else None,
        )
        limit = model.metadata.max_context_length if model.metadata else None
        if self.num_ctx is not None and limit:
            config.context_length = min(self.num_ctx, limit)
        if self.num_gpu is not None and self.num_gpu >= 0:
            layers = (model.metadata.block_count if model.metadata else None) or 1
            ratio = "off" if self.num_gpu == 0 else "max" if self.num_gpu >= layers else self.num_gpu / layers
            config.gpu = GpuSetting(ratio=ratio)
        if self.main_gpu:
            ratio = None if config.gpu is None else config.gpu.ratio
            config.gpu = GpuSetting(ratio=ratio, main_gpu=self.main_gpu, split_strategy="favorMainGpu")
        return config


class Options(LoadOptions, kw_only=True):
    """All options; ``None`` for what the model's own settings decide."""

    seed: int | None = None
    num_keep: Annotated[int, Meta(ge=-1, le=2**31 - 1)] | None = None
    repeat_last_n: Annotated[int, Meta(ge=-1, le=2**31 - 1)] | None = None
    num_predict: Annotated[int, Meta(ge=-1, le=2**31 - 1)] | None = None
    top_k: Annotated[int, Meta(ge=-1, le=2**31 - 1)] | None = None
    top_p: Fraction | None = None
    min_p: Fraction | None = None
    typical_p: Fraction | None = None
    temperature: Amount | None = None
    repeat_penalty: Annotated[float, Meta(gt=0, le=1e30)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    mirostat: Literal[0, 1, 2] | None = None
    mirostat_tau: Amount | None = None
    mirostat_eta: Amount | None = None
    stop: str | list[Annotated[str, Meta(min_length=1)]] | None = None

    def prediction_config(self, where: str = "options") -> PredictionConfig:
        """Return how text is generated with these; only what they say.

        Parameters:
            where: their path in the request.

        Raises:
            InvalidRequestError: ``num_predict`` is 0.
        """
        if self.num_predict == 0:
            raise wrong(f"{where}.num_predict", "expected at least 1, or -1 for no limit")
        config = PredictionConfig(
            max_tokens=False if self.num_predict == -1 else self.num_predict,
            seed=None if self.seed is None or self.seed == -1 else self.seed % SEEDS,
            top_k_sampling=self.top_k,
            top_p_sampling=self.top_p,
            min_p_sampling=self.min_p,
            locally_typical_sampling=self.typical_p,
            temperature=self.temperature,
            repeat_penalty=self.repeat_penalty,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            penalty_tokens=self.repeat_last_n,
            keep_tokens=self.num_keep,
        )
        if self.stop:
            config.stop_strings = [self.stop] if isinstance(self.stop, str) else self.stop
        if self.mirostat is None and (self.mirostat_tau is not None or self.mirostat_eta is not None):
            unused = "mirostat_tau" if self.mirostat_tau is not None else "mirostat_eta"
            raise wrong(f"{where}.{unused}", "has no effect without mirostat", "Set mirostat to 1 or 2.")
        if self.mirostat is not None:
            config.mirostat_sampling = MirostatSetting(version=self.mirostat)
            if self.mirostat_tau is not None:
                config.mirostat_sampling.target_entropy = self.mirostat_tau
            if self.mirostat_eta is not None:
                config.mirostat_sampling.learning_rate = self.mirostat_eta
        return config


_GONE = "Ollama has no such option any more: its server ignores it, too."

_EACH: dict[str, Field] = {
    "num_ctx": honoured(
        "Tokens that a prompt and its answer may have together, at most the model's own limit. A model that is loaded "
        "with another context is loaded again with this one; there is one copy of it."
    ),
    "num_batch": honoured("Tokens of a prompt that are computed in one step; the model is loaded again for it."),
    "num_gpu": honoured("Layers on the GPU; 0 for none, -1 for what fits; the model is loaded again for it."),
    "main_gpu": honoured("The GPU that is favoured; 0 leaves it to the engine. The model is loaded again for it."),
    "f16_kv": honoured("false: a KV cache in 32 bits; the model is loaded again for it."),
    "use_mmap": honoured("Whether the file is mapped or read; the model is loaded again for it."),
    "use_mlock": honoured("Whether the weights are kept in memory; the model is loaded again for it."),
    "num_thread": honoured(
        "Threads that generate, at most one a processor; 0 leaves it to the server. The model is loaded again for it."
    ),
    "seed": honoured("The same seed gives the same text; taken modulo 2^32; -1 for a random one."),
    "num_predict": honoured("Generated tokens at most; -1 for no limit, which ends at ten times the context."),
    "top_k": honoured("Sample among this many likeliest tokens; 0 for all."),
    "top_p": honoured("Sample among the likeliest tokens whose probabilities add up to this."),
    "min_p": honoured("Drop tokens less likely than this fraction of the likeliest."),
    "typical_p": honoured("Sample among the tokens whose surprise is nearest to the expected one."),
    "temperature": honoured("0 for the likeliest token; higher for more variety."),
    "repeat_penalty": honoured("Divides the logit of recent tokens."),
    "presence_penalty": honoured("Subtracted once from the logit of every recent token."),
    "frequency_penalty": honoured("Subtracted from the logit of a token for each recent occurrence."),
    "mirostat": honoured("1 or 2: Mirostat in place of the other samplers."),
    "mirostat_tau": honoured("The target of Mirostat, in bits; needs mirostat."),
    "mirostat_eta": honoured("How fast Mirostat corrects; needs mirostat."),
    "stop": honoured("Text that ends the answer; any number of them."),
    "repeat_last_n": honoured("How many of the last tokens the penalties look at; 0 for none, -1 for the context."),
    "num_keep": honoured(
        "Tokens at the beginning of the prompt that stay when an answer fills the context, at most half of it; -1 for "
        "the whole prompt."
    ),
    "tfs_z": refused("No engine has tail-free sampling any more.", 1),
    "numa": ignored(_GONE),
    "low_vram": ignored(_GONE),
    "logits_all": ignored(_GONE),
    "vocab_only": ignored(_GONE),
    "embedding_only": ignored(_GONE),
    "penalize_newline": ignored(_GONE),
}


def option_fields(prefix: str) -> dict[str, Field]:
    """Return the table of the options that are in the field ``prefix``."""
    return {f"{prefix}.{name}": field for name, field in _EACH.items()}


def load_option_fields(prefix: str) -> dict[str, Field]:
    """Return the same for requests that generate nothing."""
    loads = LoadOptions.__struct_fields__
    unused = ignored("Nothing is generated.")
    return {f"{prefix}.{name}": field if name in loads else unused for name, field in _EACH.items()}
