"""The default model with a chat template that knows tools, as the models made for them have."""

from __future__ import annotations

from pathlib import Path

import gguf
from gguf.scripts.gguf_new_metadata import MetadataDetails, copy_with_new_metadata

TEMPLATE = """\
{%- if tools %}
{{- '<|im_start|>system\\nCall a tool where it helps. They are:' }}
{%- for tool in tools %}{{ '\\n' + tool | tojson }}{% endfor %}
{{- '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
{{- '<|im_start|>' + ('user' if message.role == 'tool' else message.role) + '\\n' }}
{%- if message.role == 'tool' %}
{{- '<result>\\n' + message.content + '\\n</result>' }}
{%- else %}
{{- message.content or '' }}
{%- for call in message.tool_calls or [] %}
{%- set arguments = call.function.arguments | tojson %}
{{- '<call>\\n{"name": "' + call.function.name + '", "arguments": ' + arguments + '}\\n</call>' }}
{%- endfor %}
{%- endif %}
{{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""


def write_with_tools(path: Path, model: Path) -> None:
    """Write a copy of the GGUF file ``model`` to ``path``, with the template above."""
    reader = gguf.GGUFReader(model)
    architecture = reader.fields[gguf.Keys.General.ARCHITECTURE].contents()
    writer = gguf.GGUFWriter(path, architecture)
    template = MetadataDetails(gguf.GGUFValueType.STRING, TEMPLATE)
    copy_with_new_metadata(reader, writer, {gguf.Keys.Tokenizer.CHAT_TEMPLATE: template}, [])
