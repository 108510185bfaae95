"""The environments of the opponents, made in `.venv-bench` where missing and anew if they change."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".venv-bench"

NEEDS = {
    # A range would bring PyTorch's CUDA build.
    "opponents": ("torch==2.13.0", "jax==0.10.2", "snntorch==1.0.0"),
    # Brian2's compiled parts do not load with NumPy 2.4.
    "brian2": ("brian2==2.9.0", "cython>=3", "numpy<2.4"),
}


def python(name: str) -> Path:
    """Return the interpreter of an environment; eventnet's own is that of this process."""
    return Path(sys.executable) if name == "own" else HOME / name / "bin" / "python"


def ready(name: str) -> None:
    """Make an environment, if it is not there as it must be.

    Raises
    ------
    subprocess.CalledProcessError
        If pip fails: no benchmark without its opponents.
    """
    needs = [*NEEDS[name], f"numba=={version('numba')}"]
    text = "\n".join([*needs, (ROOT / "pyproject.toml").read_text(encoding="utf-8")])
    stamp, digest = HOME / name / "made", hashlib.sha256(text.encode()).hexdigest()
    if stamp.is_file() and stamp.read_text() == digest:
        return
    print(f"installing {', '.join(NEEDS[name])} into {HOME / name}", flush=True)
    shutil.rmtree(HOME / name, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", HOME / name], check=True)
    pip = [python(name), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    subprocess.run([*pip, "-e", ROOT, *needs], check=True)
    stamp.write_text(digest)


def versions(name: str) -> dict[str, str]:
    """Return the versions of what an environment was made for."""
    packages = [need.split("=")[0].split(">")[0].split("<")[0] for need in NEEDS[name]]
    code = "import sys, importlib.metadata as m; print(*map(m.version, sys.argv[1:]))"
    done = subprocess.run(
        [python(name), "-c", code, *packages], check=True, capture_output=True, text=True
    )
    return dict(zip(packages, done.stdout.split(), strict=True))
