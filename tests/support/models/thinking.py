"""A model with `<think>` and `</think>` as tokens of their own, and a chat template that begins a thought.

Its weights are those of the default model or of the quick one; the two tokens are ones that they do not use.
"""

from __future__ import annotations

from pathlib import Path

import gguf
from gguf.scripts.gguf_new_metadata import MetadataDetails, copy_with_new_metadata

from tests.support.models.tool_template import TEMPLATE as WITH_TOOLS

TEMPLATE = f"""{WITH_TOOLS}
{{%- if add_generation_prompt %}}
{{%- if enable_thinking is defined and enable_thinking is false %}}{{{{ '<think>\\n\\n</think>\\n\\n' }}}}
{{%- else %}}{{{{ '<think>\\n' }}}}{{% endif %}}
{{%- endif %}}"""

_RENAMED = {"<reponame>": "<think>", "<filename>": "</think>"}
_USER_DEFINED = 4


def write_thinking(path: Path, model: Path) -> None:
    """Write a copy of the GGUF file ``model`` to ``path``, with the tokens and the template."""
    reader = gguf.GGUFReader(model)
    architecture = reader.fields[gguf.Keys.General.ARCHITECTURE].contents()
    tokens = reader.fields[gguf.Keys.Tokenizer.LIST].contents()
    types = reader.fields[gguf.Keys.Tokenizer.TOKEN_TYPE].contents()
    for old, new in _RENAMED.items():
        place = tokens.index(old)
        tokens[place], types[place] = new, _USER_DEFINED
    array = gguf.GGUFValueType.ARRAY
    changed = {
        gguf.Keys.Tokenizer.CHAT_TEMPLATE: MetadataDetails(gguf.GGUFValueType.STRING, TEMPLATE),
        gguf.Keys.Tokenizer.LIST: MetadataDetails(array, tokens, sub_type=gguf.GGUFValueType.STRING),
        gguf.Keys.Tokenizer.TOKEN_TYPE: MetadataDetails(array, types, sub_type=gguf.GGUFValueType.INT32),
    }
    copy_with_new_metadata(reader, gguf.GGUFWriter(path, architecture), changed, [])
