# SPDX-License-Identifier: BSD-2-Clause
"""Compile one libFuzzer target, replay its corpus, and fuzz it for a minute.

usage: run.py SOURCE_ROOT BUILD_DIR NAME MAX_LEN ROOM|FILE.c...

An input that makes it fail is kept in the build directory and told with its
seed; put it into tests/fuzz/corpus when the fault is mended.
"""
import os
import pathlib
import random
import shutil
import subprocess
import sys

FLAGS = ["-g", "-O1", "-std=gnu11", "-D_GNU_SOURCE", "-DXMB_PARANOID=1",
         "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all",
         "-fno-omit-frame-pointer"]
COMPILE_SECONDS = 1000
INPUT_SECONDS = 100
MEMORY_MB = 2048


def find_clang():
    for name in ("clang-14", "clang"):
        if path := shutil.which(name):
            return path
    print("no clang: it has libFuzzer, gcc has not")
    sys.exit(77)


def fuzzer(clang):
    """Whether clang finds its run-time library."""
    said = subprocess.run([clang, "-print-runtime-dir"], check=True,
                          capture_output=True, text=True).stdout.strip()
    if not list(pathlib.Path(said).glob("libclang_rt.fuzzer*")):
        print(f"no libclang_rt.fuzzer in {said}: install libclang-rt-dev")
        sys.exit(77)


def main():
    if len(sys.argv) < 6:
        sys.exit(__doc__)
    root, build = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    name, max_len, rooms = sys.argv[3], sys.argv[4], sys.argv[5:]
    clang = find_clang()
    fuzzer(clang)
    program = build / name
    sources = [root / "tests" / "fuzz" / f"{name}.c"]
    for room in rooms:
        sources += ([root / room] if room.endswith(".c") else
                    sorted((root / "lib" / room).glob("*.c")))
    subprocess.run([clang, *FLAGS, "-iquote", root / "lib", "-iquote", root,
                    *sources, "-o", program], check=True,
                   timeout=COMPILE_SECONDS)

    corpus = root / "tests" / "fuzz" / "corpus" / name.removeprefix("fuzz_")
    kept = build / f"{name}.corpus"
    kept.mkdir(exist_ok=True)
    options = [f"-artifact_prefix={build}/{name}-", f"-max_len={max_len}",
               f"-timeout={INPUT_SECONDS}", f"-rss_limit_mb={MEMORY_MB}"]
    # What the build tree's sanitizers write is looked for elsewhere.
    env = dict(os.environ, ASAN_OPTIONS="detect_leaks=1:quarantine_size_mb=16")
    inputs = list(corpus.iterdir())
    if not inputs:
        sys.exit(f"{corpus} is empty")
    subprocess.run([program, *options, *inputs], check=True, env=env)
    seconds = os.environ.get("XMB_FUZZ_SECONDS", "60")
    seed = random.randrange(1, 1 << 32)
    print(f"{name}: {len(inputs)} inputs replayed; {seconds} s with seed {seed}",
          flush=True)
    subprocess.run([program, *options, f"-max_total_time={seconds}",
                    f"-seed={seed}", "-len_control=0", "-print_final_stats=1",
                    kept, corpus], check=True, env=env)


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"{error.cmd[0]} failed, status {error.returncode}")
