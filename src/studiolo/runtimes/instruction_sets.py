"""The instruction sets that this processor runs, each proven by a small program of its own.

A virtual processor may advertise instructions that it does not run, and a build for ``native`` uses them all. Here each
set is compiled into a program that runs in a process of its own. A set whose program dies, or computes something else,
is left out, and llama.cpp is built with the names of the others.
"""

from __future__ import annotations

import asyncio
import platform
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..platform.processes import died_of_illegal_instruction, run_child, signal_name

TRIAL_LIMIT_SEC = 60.0
"""How long a trial may be compiled, and run."""


@dataclass(frozen=True)
class InstructionSet:
    """One set of instructions.

    Parameters:
        name: llama.cpp's name of it, as in the build option ``GGML_<NAME>``; on ARM the feature's name.
        flags: what the compiler needs to compile the program.
        program: C statements that use its instructions and set ``wrong`` if a result is not what it should be.
        needs: the sets without which llama.cpp does not use it.
    """

    name: str
    flags: tuple[str, ...]
    program: str
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trial:
    """The result of trying a set: ``fault`` is ``None`` where it runs, and otherwise says why it is left out."""

    name: str
    fault: str | None = None


_AVX512_FLAGS = ("-mavx512f", "-mavx512cd", "-mavx512vl", "-mavx512dq", "-mavx512bw")

X86 = (
    InstructionSet(
        "SSE42",
        ("-msse4.2",),
        "__m128i a = _mm_set1_epi64x(one), b = _mm_set1_epi64x(one + 1);"
        "wrong |= _mm_movemask_epi8(_mm_cmpgt_epi64(b, a)) != 0xffff; wrong |= _mm_popcnt_u32(one + 6) != 3;",
    ),
    InstructionSet(
        "AVX",
        ("-mavx",),
        "float r[8]; _mm256_storeu_ps(r, _mm256_add_ps(_mm256_set1_ps(one), _mm256_set1_ps(2)));"
        "wrong |= r[0] != 3 || r[7] != 3;",
        ("SSE42",),
    ),
    InstructionSet(
        "F16C",
        ("-mavx", "-mf16c"),
        "float r[8]; __m128i h = _mm256_cvtps_ph(_mm256_set1_ps(one), 0); _mm256_storeu_ps(r, _mm256_cvtph_ps(h));"
        "wrong |= r[0] != 1 || r[7] != 1;",
        ("AVX",),
    ),
    InstructionSet(
        "FMA",
        ("-mavx", "-mfma"),
        "float r[8]; __m256 v = _mm256_set1_ps(one); _mm256_storeu_ps(r, _mm256_fmadd_ps(v, v, v));"
        "wrong |= r[0] != 2 || r[7] != 2;",
        ("AVX",),
    ),
    InstructionSet("BMI2", ("-mbmi2",), "wrong |= _pext_u32(0xf0 * one, 0xff) != 0xf0 || _pdep_u32(one, 2) != 2;"),
    InstructionSet(
        "AVX2",
        ("-mavx2",),
        "int r[8]; __m256i v = _mm256_maddubs_epi16(_mm256_set1_epi8(one), _mm256_set1_epi8(2));"
        "_mm256_storeu_si256((void *)r, _mm256_madd_epi16(v, _mm256_set1_epi16(one)));"
        "wrong |= r[0] != 8 || r[7] != 8;",
        ("AVX", "FMA", "F16C"),
    ),
    InstructionSet(
        "AVX_VNNI",
        ("-mavx2", "-mavxvnni"),
        "int r[8]; __m256i v = _mm256_set1_epi8(one);"
        "_mm256_storeu_si256((void *)r, _mm256_dpbusd_avx_epi32(_mm256_setzero_si256(), v, v));"
        "wrong |= r[0] != 4 || r[7] != 4;",
        ("AVX2",),
    ),
    InstructionSet(
        "AVX512",
        _AVX512_FLAGS,
        "float r[16]; __m512 v = _mm512_set1_ps(one); _mm512_storeu_ps(r, _mm512_fmadd_ps(v, v, v));"
        "wrong |= r[0] != 2 || r[15] != 2; int n[16];"
        "__m512i b = _mm512_maddubs_epi16(_mm512_set1_epi8(one), _mm512_set1_epi8(2));"  # BW
        "_mm512_storeu_si512(n, _mm512_madd_epi16(b, _mm512_set1_epi16(one))); wrong |= n[0] != 8 || n[15] != 8;"
        "_mm512_storeu_si512(n, _mm512_lzcnt_epi32(_mm512_set1_epi32(one))); wrong |= n[0] != 31;"  # CD
        "long long q[8]; __m512i m = _mm512_mullo_epi64(_mm512_set1_epi64(one + 2), _mm512_set1_epi64(5));"  # DQ
        "_mm512_storeu_si512(q, m); wrong |= q[0] != 15;"
        "__m256 y = _mm256_maskz_add_ps(one, _mm256_set1_ps(one), _mm256_set1_ps(one)); float f[8];"  # VL
        "_mm256_storeu_ps(f, y); wrong |= f[0] != 2 || f[1] != 0;",
        ("AVX2",),
    ),
    InstructionSet(
        "AVX512_VBMI",
        (*_AVX512_FLAGS, "-mavx512vbmi"),
        "char r[64]; __m512i v = _mm512_set1_epi8(one);"
        "_mm512_storeu_si512(r, _mm512_permutexvar_epi8(v, _mm512_set1_epi8(7))); wrong |= r[0] != 7 || r[63] != 7;",
        ("AVX512",),
    ),
    InstructionSet(
        "AVX512_VNNI",
        (*_AVX512_FLAGS, "-mavx512vnni"),
        "int r[16]; __m512i v = _mm512_set1_epi8(one);"
        "_mm512_storeu_si512(r, _mm512_dpbusd_epi32(_mm512_setzero_si512(), v, v)); wrong |= r[0] != 4 || r[15] != 4;",
        ("AVX512",),
    ),
    InstructionSet(
        "AVX512_BF16",
        (*_AVX512_FLAGS, "-mavx512bf16"),
        "float r[16]; __m512bh v = _mm512_cvtne2ps_pbh(_mm512_set1_ps(one), _mm512_set1_ps(one));"
        "_mm512_storeu_ps(r, _mm512_dpbf16_ps(_mm512_setzero_ps(), v, v)); wrong |= r[0] != 2 || r[15] != 2;",
        ("AVX512",),
    ),
)

# Tile registers have to be requested of the kernel, as llama.cpp does.
_TILES = (
    "struct { unsigned char palette, row, zero[14]; unsigned short colsb[16]; unsigned char rows[16]; } c ="
    " { 1, 0, { 0 }, { 64, 64, 64 }, { 16, 16, 16 } };"
    "if (syscall(SYS_arch_prctl, 0x1023, 18)) return 3; _tile_loadconfig(&c);"
    "static int r[256]; memset(a, one, sizeof a);"
)

AMX = (
    InstructionSet(
        "AMX_TILE",
        (*_AVX512_FLAGS, "-mamx-tile"),
        "static char a[1024];" + _TILES + "_tile_loadd(0, a, 64); _tile_stored(0, r, 64); _tile_release();"
        "wrong |= r[0] != 0x01010101 || r[255] != 0x01010101;",
        ("AVX512", "AVX512_VNNI"),
    ),
    InstructionSet(
        "AMX_INT8",
        (*_AVX512_FLAGS, "-mamx-tile", "-mamx-int8"),
        "static char a[1024];" + _TILES + "_tile_loadd(0, a, 64); _tile_loadd(1, a, 64); _tile_zero(2);"
        "_tile_dpbssd(2, 0, 1); _tile_stored(2, r, 64); _tile_release(); wrong |= r[0] != 64 || r[255] != 64;",
        ("AMX_TILE",),
    ),
    InstructionSet(
        "AMX_BF16",
        (*_AVX512_FLAGS, "-mamx-tile", "-mamx-bf16"),
        "static char a[1024];" + _TILES + "_tile_loadd(0, a, 64); _tile_loadd(1, a, 64); _tile_zero(2);"
        "_tile_dpbf16ps(2, 0, 1); _tile_stored(2, r, 64); _tile_release();",
        ("AMX_TILE",),
    ),
)

ARM = (
    InstructionSet(
        "dotprod",
        ("-march=armv8.2-a+dotprod",),
        "int8x16_t v = vdupq_n_s8(one); wrong |= vgetq_lane_s32(vdotq_s32(vdupq_n_s32(0), v, v), 0) != 4;",
    ),
    InstructionSet(
        "fp16",
        ("-march=armv8.2-a+fp16",),
        "float16x8_t v = vdupq_n_f16(one); wrong |= vgetq_lane_f16(vaddq_f16(v, v), 0) != 2;",
    ),
    InstructionSet(
        "i8mm",
        ("-march=armv8.2-a+dotprod+i8mm",),
        "int8x16_t v = vdupq_n_s8(one); wrong |= vgetq_lane_s32(vmmlaq_s32(vdupq_n_s32(0), v, v), 0) != 8;",
        ("dotprod",),
    ),
    InstructionSet(
        "sve",
        ("-march=armv8.2-a+sve",),
        "svint32_t v = svadd_n_s32_x(svptrue_b32(), svdup_n_s32(one), 1);"
        "wrong |= svaddv_s32(svptrue_b32(), v) != 2 * (int64_t)svcntw();",
        ("dotprod", "fp16"),
    ),
)


def candidates() -> Sequence[InstructionSet]:
    """Return the sets to try on a processor of this machine's kind; those that others need come first."""
    match platform.machine().lower():
        case "x86_64" | "amd64":
            return (*X86, *AMX)
        case "aarch64" | "arm64":
            return ARM
        case _:
            return ()


async def prove(
    compiler: str,
    sets: Sequence[InstructionSet] | None = None,
    report: Callable[[str], None] = lambda text: None,
) -> list[Trial]:
    """Compile and run a program for each of the sets, one after the other.

    A set is not tried where one that it needs does not run.

    Parameters:
        compiler: a C compiler with the options of gcc.
        sets: by default those of :func:`candidates`.
        report: called with the name of each set before it is tried.
    """
    trials: dict[str, Trial] = {}
    with tempfile.TemporaryDirectory(prefix="studiolo-") as folder:
        for each in candidates() if sets is None else sets:
            report(each.name)
            lacking = [name for name in each.needs if name not in trials or trials[name].fault is not None]
            fault = f"it needs {lacking[0]}" if lacking else await _fault(compiler, each, Path(folder))
            trials[each.name] = Trial(each.name, fault)
    return list(trials.values())


async def _fault(compiler: str, each: InstructionSet, folder: Path) -> str | None:
    """Return why a set does not run; ``None`` where it does."""
    source, program = folder / "trial.c", folder / "trial.exe"
    source.write_text(_program(each), "utf-8")
    program.unlink(missing_ok=True)
    try:
        compiling = (compiler, "-O1", *each.flags, str(source), "-o", str(program))
        status, _, errors = await run_child(*compiling, limit_sec=TRIAL_LIMIT_SEC)
        if status or not await asyncio.to_thread(program.exists):
            last = (errors.decode(errors="replace").strip().splitlines() or [f"exit status {status}"])[0]
            return f"the compiler does not know it: {last[-200:]}"
        status, _, _ = await run_child(str(program), limit_sec=TRIAL_LIMIT_SEC)
    except TimeoutError:
        return f"its program did not end within {TRIAL_LIMIT_SEC:g} s"
    except OSError as error:
        return error.strerror or str(error)
    if died_of_illegal_instruction(status):
        return "the processor does not run it: illegal instruction"
    if status:
        name = signal_name(status)
        return {1: "it computes something else", 3: "the kernel does not grant it"}.get(
            status, f"its program ended with {name or f'exit status {status}'}"
        )
    return None


def _program(each: InstructionSet) -> str:
    headers = {"arm_neon.h"} if each in ARM else {"immintrin.h"}
    if each.name == "sve":
        headers.add("arm_sve.h")
    if each in AMX:
        headers |= {"string.h", "sys/syscall.h", "unistd.h"}
    lines = [f"#include <{header}>" for header in sorted(headers)]
    # "one" is the number of arguments, so that the compiler cannot compute the results itself.
    body = f"int main(int one, char **arguments) {{ int wrong = 0; {each.program} return wrong; }}"
    return "\n".join(["#define _GNU_SOURCE", *lines, body, ""])


def build_flags(proven: Sequence[str]) -> list[str]:
    """Return the options of CMake that make llama.cpp use the sets ``proven``, and no others."""
    flags = ["-DGGML_NATIVE=OFF"]
    names = [each.name for each in candidates()]
    if candidates() is ARM:
        extensions = "".join(f"+{name}" for name in names if name in proven)
        return [*flags, f"-DGGML_CPU_ARM_ARCH={'armv8.2-a' if extensions else 'armv8-a'}{extensions}"]
    return [*flags, *(f"-DGGML_{name}={'ON' if name in proven else 'OFF'}" for name in names)]
