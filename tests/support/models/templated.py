"""A tiny model with random weights whose tokenizer begins every text, and whose chat template knows no system."""

from __future__ import annotations

from pathlib import Path

from tests.support.models.vision import write_text_model

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m.role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "<{{ m.role }}>{{ m.content }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
INFILL = (4, 5, 6)
"""The tokens before the prefix, before the suffix and in the gap of a text: control tokens that nothing else uses."""

BOS, EOS = "<|endoftext|>", "<|im_end|>"


def write_templated(path: Path, vocabulary: Path) -> None:
    """Write the model to ``path``, with SmolLM2's vocabulary, which the file ``vocabulary`` has."""
    write_text_model(
        path,
        vocabulary,
        chat_template=TEMPLATE,
        ggml__add_bos_token=True,
        ggml__bos_token_id=0,
        ggml__eos_token_id=2,
        ggml__fim_pre_token_id=INFILL[0],
        ggml__fim_suf_token_id=INFILL[1],
        ggml__fim_mid_token_id=INFILL[2],
    )
