"""The settings of a load and of a prediction: one place, with units and defaults.

Every field may be left out (``None``): the default is then used. A result has the settings that were used. A user
may give a config as one of these types or as a dict, in snake_case or in LM Studio's camelCase; :func:`load_config` and
:func:`prediction_config` turn either into a checked instance or raise a :class:`~studiolo.errors.ConfigError` that
names the field.
"""

from .checking import (
    config_error,
    explicit_fields,
    snake_case_keys,
)
from .load import (
    DEFAULT_EVAL_BATCH,
    DEFAULT_PARALLEL_PREDICTIONS,
    DEFAULT_PHYSICAL_BATCH,
    UNQUANTIZED,
    CacheType,
    EmbeddingLoadModelConfig,
    EmbeddingLoadModelConfigDict,
    GpuSetting,
    LlmLoadModelConfig,
    LlmLoadModelConfigDict,
    LoadConfig,
    NgramSpeculation,
    PoolingType,
    check_load_config,
    load_config,
)
from .lora import LoraSetting
from .prediction import (
    PREDICTION_DEFAULTS,
    ContextOverflowPolicy,
    JinjaPromptTemplate,
    LlmPredictionConfig,
    LlmPredictionConfigDict,
    ManualPromptTemplate,
    MirostatSetting,
    PredictionConfig,
    PromptTemplate,
    ReasoningParsing,
    StructuredSetting,
    ToolNaming,
    prediction_config,
)

__all__ = [
    "DEFAULT_EVAL_BATCH",
    "DEFAULT_PARALLEL_PREDICTIONS",
    "DEFAULT_PHYSICAL_BATCH",
    "PREDICTION_DEFAULTS",
    "UNQUANTIZED",
    "CacheType",
    "ContextOverflowPolicy",
    "EmbeddingLoadModelConfig",
    "EmbeddingLoadModelConfigDict",
    "GpuSetting",
    "JinjaPromptTemplate",
    "LlmLoadModelConfig",
    "LlmLoadModelConfigDict",
    "LlmPredictionConfig",
    "LlmPredictionConfigDict",
    "LoadConfig",
    "LoraSetting",
    "ManualPromptTemplate",
    "MirostatSetting",
    "NgramSpeculation",
    "PoolingType",
    "PredictionConfig",
    "PromptTemplate",
    "ReasoningParsing",
    "StructuredSetting",
    "ToolNaming",
    "check_load_config",
    "config_error",
    "explicit_fields",
    "load_config",
    "prediction_config",
    "snake_case_keys",
]
