"""Chat templates of the families of models, and tiny models with random weights that have the control tokens of all."""

from __future__ import annotations

import string
from pathlib import Path

from studiolo.engines.chat_templates.formatting import CHATML
from tests.support.models.thinking import TEMPLATE as THINKING
from tests.support.models.tool_template import TEMPLATE as WITH_TOOLS
from tests.support.models.vision import add_text_fields, add_text_weights, finish

LLAMA_3 = """{{- bos_token }}{%- for m in messages %}
{{- '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + m.content | trim + '<|eot_id|>' }}
{%- endfor %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}"""
MISTRAL = """{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}
{%- else %}{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}"""
GEMMA = """{{ bos_token }}{% for m in messages %}{{ '<start_of_turn>' + m.role + '\n' + m.content.strip() }}
{{- '<end_of_turn>\n' }}{% endfor %}<start_of_turn>model\n"""
PHI = "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}{% endfor %}<|assistant|>\n"
FAMILIES = {
    "ChatML": (CHATML, ["<|im_start|>", "<|im_end|>", "<|endoftext|>"]),
    "Llama 3": (LLAMA_3, ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]),
    "Mistral": (MISTRAL, ["<s>", "</s>", "[INST]", "[/INST]", "[TOOL_CALLS]"]),
    "Gemma": (GEMMA, ["<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>", "<start_of_image>"]),
    "Phi": (PHI, ["<|user|>", "<|assistant|>", "<|system|>", "<|end|>", "<|endoftext|>"]),
    "thinking": (THINKING, ["<|im_start|>", "<|im_end|>", "<think>", "</think>"]),
    "tools": (WITH_TOOLS, ["<|im_start|>", "<|im_end|>"]),
}
"""The template of each family, and the spellings of its control tokens."""

CONTROL_TOKENS = sorted({token for _, tokens in FAMILIES.values() for token in tokens} - {"<s>", "</s>"})


def write_byte_pairs(path: Path) -> None:
    """Write a model whose tokenizer merges pairs of bytes, as most do: all bytes, and a few merges."""
    import gguf

    signs = [*map(chr, (*range(33, 127), *range(161, 173), *range(174, 256)))]
    signs += map(chr, range(256, 256 + 256 - len(signs)))  # the other bytes, in their order
    merges = ["t h", "th e", "\u0120 a", "< |", "| >", "< s"]
    tokens = ["<s>", "</s>", *CONTROL_TOKENS, *signs, *(merge.replace(" ", "") for merge in merges)]
    control = len(CONTROL_TOKENS) + 2
    writer = gguf.GGUFWriter(path, "llama")
    add_text_fields(writer, len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL] * control + [gguf.TokenType.NORMAL] * (len(tokens) - control))
    writer.add_token_merges(merges)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    add_text_weights(writer, len(tokens))
    finish(writer)


def write_sentence_pieces(path: Path) -> None:
    """Write a model whose tokenizer joins the likeliest pieces and begins each text with a token and a space."""
    import gguf

    pieces = ["\u2581", *string.ascii_letters, "th", "the", "\u2581a", "<s", "s>", "<|", "|>"]
    types = gguf.TokenType
    vocabulary = [("<unk>", types.UNKNOWN), ("<s>", types.CONTROL), ("</s>", types.CONTROL)]
    vocabulary += [(f"<0x{byte:02X}>", types.BYTE) for byte in range(256)]
    vocabulary += [(token, types.CONTROL) for token in CONTROL_TOKENS]
    vocabulary += [(piece, types.NORMAL) for piece in pieces]
    writer = gguf.GGUFWriter(path, "llama")
    add_text_fields(writer, len(vocabulary))
    writer.add_tokenizer_model("llama")
    writer.add_token_list([token for token, _ in vocabulary])
    writer.add_token_types([kind for _, kind in vocabulary])
    writer.add_token_scores([float(len(token)) if kind == types.NORMAL else 0.0 for token, kind in vocabulary])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    add_text_weights(writer, len(vocabulary))
    finish(writer)


WRITERS = {"byte pairs": write_byte_pairs, "sentence pieces": write_sentence_pieces}
