from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studiolo.library.model import Model, base_key, is_model_file, split_name
from studiolo.library.model_keys import assign_keys, name_of
from studiolo.library.name_resolution import NameIndex
from studiolo.library.scan import File, Found, Origin, publisher_of


@pytest.mark.parametrize(
    ("file", "key", "quantization"),
    [
        ("SmolLM2-135M-Instruct.Q4_1.gguf", "smollm2-135m-instruct", "q4_1"),
        ("gemma-3-270m-q4_k_m.gguf", "gemma-3-270m", "q4_k_m"),
        ("Qwen3-8B-UD-Q4_K_XL.gguf", "qwen3-8b", "ud-q4_k_xl"),
        ("Mistral-7B.i1-IQ3_XXS.gguf", "mistral-7b", "i1-iq3_xxs"),
        ("phi-4-IQ4_NL.GGUF", "phi-4", "iq4_nl"),
        ("llama_f16.gguf", "llama", "f16"),
        ("llama-BF16.gguf", "llama", "bf16"),
        ("llama.F32.gguf", "llama", "f32"),
        ("gpt-oss-20b-MXFP4.gguf", "gpt-oss-20b", "mxfp4"),
        ("gpt-oss-20b-mxfp4_moe.gguf", "gpt-oss-20b", "mxfp4_moe"),
        ("bitnet-TQ1_0.gguf", "bitnet", "tq1_0"),
        ("big-Q8_0-00001-of-00003.gguf", "big", "q8_0"),
        ("model-Q4_0_4_4.gguf", "model", "q4_0_4_4"),
        ("all-MiniLM-L6-v2.gguf", "all-minilm-l6-v2", None),
        ("Q4_K_M.gguf", "q4_k_m", None),
        ("seq2.gguf", "seq2", None),
        ("model-f160.gguf", "model-f160", None),
    ],
)
def test_a_key_is_the_name_without_the_quantization(file: str, key: str, quantization: str | None) -> None:
    assert base_key(file) == key
    assert split_name(file)[1] == quantization


@pytest.mark.parametrize(
    ("file", "counts"),
    [
        ("a.gguf", True),
        ("a.GGUF", True),
        ("a.gguf.part", False),
        ("mmproj-a-f16.gguf", False),
        ("a.mmproj-Q8_0.gguf", False),
        ("MMPROJ.gguf", False),
        ("a-00001-of-00002.gguf", True),
        ("a-00002-of-00002.gguf", False),
        ("a.safetensors", False),
    ],
)
def test_companions_of_a_model_are_no_models(file: str, counts: bool) -> None:
    assert is_model_file(file) is counts


def keys(*paths: str, reserved: dict[str, str] | None = None) -> dict[str, str]:
    """The keys of files at ``/PATH``, by path."""
    found = [found_at(path) for path in paths]
    named = {f"/{path}": key for path, key in (reserved or {}).items()}
    return {path.removeprefix("/"): each.key for path, each in assign_keys(found, named).items()}


def found_at(path: str, origin: Origin = "home") -> Found:
    return Found((File(Path(f"/{path}"), path, 1, 1, (0, hash(path)), origin, publisher_of(path)),))


def test_variants_of_a_model_have_one_group() -> None:
    assert keys("p/a.gguf") == {"p/a.gguf": "a"}
    assert keys("p/x/m.Q4_0.gguf", "p/x/m.Q8_0.gguf", "p/x/m.gguf", "p/x/other.Q8_0.gguf") == {
        "p/x/m.Q4_0.gguf": "m@q4_0",
        "p/x/m.Q8_0.gguf": "m@q8_0",
        "p/x/m.gguf": "m",
        "p/x/other.Q8_0.gguf": "other",
    }
    assert keys("p/x/m.Q4_0.gguf", "p/x/m-q4_0.gguf") == {
        "p/x/m.Q4_0.gguf": "m@m.q4_0",
        "p/x/m-q4_0.gguf": "m@m-q4_0",
    }


def test_keys_of_embedding_models_have_their_prefix_once() -> None:
    paths = ("p/x/nomic-embed-text-v1.5.f16.gguf", "p/y/Text-Embedding-ada.Q8_0.gguf", "q/z/llama.Q4_0.gguf")
    found = [found_at(path) for path in paths]
    embed = found[:2]
    given = {"/q/z/llama.Q4_0.gguf": "llama"}
    assigned = assign_keys(found, given, lambda each: "embedding" if each in embed else "llm")
    keys = {path: each.key for path, each in assigned.items()}
    assert keys == {
        "/p/x/nomic-embed-text-v1.5.f16.gguf": "text-embedding-nomic-embed-text-v1.5",
        "/p/y/Text-Embedding-ada.Q8_0.gguf": "text-embedding-ada",
        "/q/z/llama.Q4_0.gguf": "llama",
    }


def test_an_embedding_model_of_the_catalog_has_the_prefix_and_so_have_variants_and_contested_keys() -> None:
    paths = ("p/x/e.f16.gguf", "p/x/e.Q8_0.gguf", "q/y/e.f16.gguf")
    found = [found_at(path) for path in paths]
    embeds = lambda _: "embedding"  # noqa: E731
    assert [each.key for each in assign_keys(found[:1], {"/p/x/e.f16.gguf": "mine"}, embeds).values()] == [
        "text-embedding-mine"
    ]
    assert [each.key for each in assign_keys(found, {}, embeds).values()] == [
        "p/text-embedding-e@q8_0",
        "p/text-embedding-e@f16",
        "q/text-embedding-e",
    ]


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("p/x/qwen2.5-0.5b-instruct-q8_0.gguf", "qwen2.5 0.5b Instruct"),
        ("p/x/Qwen2-VL-2B-Instruct-Q4_K_M.gguf", "Qwen2 VL 2B Instruct"),
        ("p/x/nomic-embed-text-v1.5.f16.gguf", "Nomic Embed Text v1.5"),
        ("p/MobileVLM_V2-1.7B-GGUF/ggml-model-q4_k.gguf", "MobileVLM V2 1.7B"),
    ],
)
def test_people_see_a_name_in_words(path: str, shown: str) -> None:
    assert name_of(found_at(path)).display == shown


def test_a_file_without_a_name_of_its_own_is_named_after_its_folder() -> None:
    assert keys("p/MobileVLM_V2-1.7B-GGUF/ggml-model-q4_k.gguf") == {
        "p/MobileVLM_V2-1.7B-GGUF/ggml-model-q4_k.gguf": "mobilevlm_v2-1.7b"
    }


def test_contested_keys_get_longer() -> None:
    assert keys("p/x/m.Q4_0.gguf", "r/x/m.Q4_0.gguf", "p/x/m.Q8_0.gguf") == {
        "p/x/m.Q4_0.gguf": "p/m@q4_0",
        "p/x/m.Q8_0.gguf": "p/m@q8_0",
        "r/x/m.Q4_0.gguf": "r/m",
    }
    assert keys("p/x/m.Q4_0.gguf", "p/y/m.Q4_0.gguf") == {
        "p/x/m.Q4_0.gguf": "p/x/m",
        "p/y/m.Q4_0.gguf": "p/y/m",
    }


def test_a_model_of_the_catalog_keeps_its_name() -> None:
    reserved = {"p/x/m.Q8_0.gguf": "m"}
    assert keys("p/x/m.Q4_0.gguf", "p/x/m.Q8_0.gguf", "r/x/m.Q8_0.gguf", reserved=reserved) == {
        "p/x/m.Q4_0.gguf": "m@q4_0",
        "p/x/m.Q8_0.gguf": "m",
        "r/x/m.Q8_0.gguf": "r/m",
    }


def test_a_model_of_the_home_is_not_renamed_by_those_of_other_programs() -> None:
    found = [found_at("p/x/m.gguf"), found_at("lms/p/x/m.gguf", "lmstudio"), found_at("hf/p/x/m.gguf", "huggingface")]
    assert [each.key for each in assign_keys(found).values()] == ["hf/m", "lms/m", "m"]


_part = st.sampled_from(["a", "b", "A", "a@q4_0", "é"])
_file = st.builds(
    lambda name, quant, end: name + quant + end,
    _part,
    st.sampled_from(["", ".Q4_0", "-q4_0", "_F16", ".q8_0", ".gguf"]),
    st.sampled_from([".gguf", ".GGUF", "-00001-of-00002.gguf"]),
)
_paths = st.lists(
    st.builds(lambda folders, file: "/".join([*folders, file]), st.lists(_part, max_size=3), _file),
    unique=True,
    max_size=12,
)


@given(_paths, st.randoms(use_true_random=False), st.booleans())
def test_keys_are_unique_and_do_not_depend_on_order(paths: list[str], random, reserve: bool) -> None:
    reserved = {paths[0]: base_key(paths[0].rpartition("/")[2])} if reserve and paths else None
    assigned = keys(*paths, reserved=reserved)
    assert list(assigned) == sorted(paths)
    assert len(set(assigned.values())) == len(paths)
    if reserved:
        assert assigned[paths[0]] == reserved[paths[0]]
    random.shuffle(paths)
    assert keys(*paths, reserved=reserved) == assigned


@given(st.text(min_size=1), st.sampled_from([".Q4_K_M", "-iq3_xs", "_bf16"]))
def test_the_quantization_is_taken_off_any_name(name: str, suffix: str) -> None:
    stem, quantization = split_name(f"{name}x{suffix}.gguf")
    assert stem == f"{name}x"
    assert quantization == suffix[1:].lower()


@given(_paths)
def test_every_key_means_its_model(paths: list[str]) -> None:
    found = [found_at(path) for path in paths]
    models = [
        Model(
            key=each.key,
            group=each.group,
            path=Path(path),
            relative_path=path.removeprefix("/"),
            display_name="",
            publisher=publisher_of(path.removeprefix("/")),
            size_bytes=1,
        )
        for path, each in assign_keys(found).items()
    ]
    for model in models:
        assert [match.model for match in NameIndex(models).matches(model.key)] == [model]
