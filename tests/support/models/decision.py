"""A tiny decision model with random weights: the tiny vision model, and what makes it a System One model.

Which answer it chooses is noise; how it is recognized, asked and answers is real.
"""

from __future__ import annotations

from pathlib import Path

TEMPLATE = (
    "{% for image in images %}{{ image }}{% endfor %}{{ state if state is string else state | tojson }}\n"
    "{{ instructions }}\n{% for option in options %}{{ option.key }} {{ option.description or '' }}\n{% endfor %}"
    "Answer:"
)
TEMPERATURE = "1.5"
"""Of questions with choices; those of other types have none."""


def write_decision_model(path: Path, model: Path) -> None:
    """Write the model to ``path``, with the tensors and the vocabulary of the GGUF file ``model``."""
    import gguf

    reader = gguf.GGUFReader(model)
    architecture = str(reader.fields[gguf.Keys.General.ARCHITECTURE].contents())
    writer = gguf.GGUFWriter(path, architecture)
    for field in reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name != gguf.Keys.General.ARCHITECTURE:
            kind, *items = field.types
            writer.add_key_value(field.name, field.contents(), kind, items[0] if items else None)
    writer.add_string(f"{architecture}.decision.type", "openjev")
    writer.add_string(f"{architecture}.decision.temperature.choice", TEMPERATURE)
    writer.add_string("tokenizer.chat_template.systemone", TEMPLATE)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
