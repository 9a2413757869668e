"""Instruction sets, each tried by a program of its own that a real compiler makes."""

from __future__ import annotations

import re
import shutil

import pytest

from studiolo.host.machine import processor
from studiolo.runtimes.instruction_sets import AMX, ARM, X86, InstructionSet, build_flags, candidates, prove

COMPILER = shutil.which("cc") or ""

needs_compiler = pytest.mark.skipif(not COMPILER, reason="there is no C compiler")


def one(program: str, *flags: str, needs: tuple[str, ...] = ()) -> InstructionSet:
    return InstructionSet("TRIAL", flags, program, needs)


async def fault(tried: InstructionSet) -> str | None:
    (trial,) = await prove(COMPILER, [tried])
    return trial.fault


@needs_compiler
@pytest.mark.slow
async def test_every_set_runs_or_is_left_out_for_a_reason() -> None:
    reported: list[str] = []
    trials = await prove(COMPILER, report=reported.append)
    assert [trial.name for trial in trials] == [each.name for each in candidates()] == reported
    for trial in trials:
        assert trial.fault is None or "the processor" in trial.fault or "needs" in trial.fault or "know" in trial.fault
    proven = {trial.name.lower() for trial in trials if trial.fault is None}
    if candidates() is not ARM:
        assert "sse42" in proven, "every x86-64 that the engine runs on has it"
        # What the system does not advertise does not run either; the opposite is what the trials are for.
        assert proven & {"avx", "avx2", "fma", "f16c", "bmi2"} <= processor().features


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "flags", "reason"),
    [
        ("wrong |= one != 1;", (), None),
        ('__asm__ volatile (".byte 0x0f, 0x0b");', (), "illegal instruction"),
        ("wrong |= one == 1;", (), "computes something else"),
        ("return 3;", (), "the kernel does not grant it"),
        ("return 9;", (), "exit status 9"),
        ("this is not C;", (), "the compiler does not know it"),
        ("wrong |= one != 1;", ("-mno-such-set",), "the compiler does not know it: .*no-such-set"),
    ],
)
@pytest.mark.skipif(candidates() is ARM, reason="the header is for x86")
async def test_a_set_that_fails_is_left_out(program: str, flags: tuple[str, ...], reason: str | None) -> None:
    found = await fault(one(program, *flags))
    if reason is None:
        assert found is None
    else:
        assert found is not None and re.search(reason, found), found


async def test_a_set_is_not_tried_without_those_that_it_needs() -> None:
    trials = await prove("/no/compiler", [one("", needs=("OTHER",))])
    assert [trial.fault for trial in trials] == ["it needs OTHER"]


async def test_a_compiler_that_cannot_be_run_is_a_reason() -> None:
    (trial,) = await prove("/no/compiler", [one("")])
    assert trial.fault == "No such file or directory"


@pytest.mark.skipif(candidates() is ARM, reason="other flags")
def test_sets_are_named_and_never_native() -> None:
    flags = build_flags(["SSE42", "AVX", "AVX2"])
    assert "-DGGML_NATIVE=OFF" in flags and "-DGGML_AVX2=ON" in flags and "-DGGML_AVX512=OFF" in flags
    assert not any("native" in flag.lower() and flag.endswith("ON") for flag in flags)
    assert len(flags) == 1 + len(X86) + len(AMX)


def test_each_set_comes_after_those_that_it_needs() -> None:
    for sets in ((*X86, *AMX), ARM):
        seen: set[str] = set()
        for each in sets:
            assert set(each.needs) <= seen, each.name
            seen.add(each.name)
