"""What a user installs: eventnet alone, with its scenarios and recipes, the same by every way in."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import sysconfig
import time
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DEPENDENCIES = sysconfig.get_path("purelib")
RESOURCES = ("datasets", "sims")
FOREIGN = ("cli", "datasets", "sims", "tests", "benchmarks", "docs")


@dataclass(frozen=True)
class Place:
    """An interpreter, and the folder to call it from."""

    python: Path
    cwd: Path

    def run(self, *arguments: str) -> str:
        command = [str(self.python), *arguments]
        return call(command, self.cwd)

    def evaluate(self, expression: str, setup: str = "") -> object:
        return json.loads(self.run("-c", f"import json\n{setup}\nprint(json.dumps({expression}))"))


def call(command: list[str], cwd: Path) -> str:
    """Return what a command prints; if it fails, show what it said."""
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run(command, cwd=cwd, env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def make_venv(folder: Path) -> Path:
    """Make an empty virtual environment and return its interpreter."""
    venv.create(folder, symlinks=True, with_pip=False)
    return folder / "bin" / "python"


def install(python: Path, *what: str) -> None:
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-qq", "--no-deps"]
    call([*pip, *what], python.parent)


def lend_dependencies(python: Path) -> None:
    """Let `python` import what these tests run with, after all that is installed for itself.

    A line in a .pth file is not a site folder: an editable eventnet there does not shine through.
    The file's name sorts before an editable install's own, which imports `editables`.
    """
    site = Path(
        call([str(python), "-c", "import site; print(site.getsitepackages()[0])"], ROOT).strip()
    )
    (site / "0_dependencies.pth").write_text(DEPENDENCIES + "\n")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out)]
    call([*build, str(ROOT)], ROOT)
    (built,) = out.iterdir()
    return built


@pytest.fixture(scope="session")
def from_wheel(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    python = make_venv(tmp_path_factory.mktemp("from_wheel") / "venv")
    install(python, str(wheel))
    lend_dependencies(python)
    return Place(python, tmp_path_factory.mktemp("empty"))


@pytest.fixture(scope="session")
def editable(tmp_path_factory: pytest.TempPathFactory) -> Place:
    python = make_venv(tmp_path_factory.mktemp("editable") / "venv")
    lend_dependencies(python)  # before the install: the build backend is among them
    install(python, "--no-build-isolation", "-e", str(ROOT))
    return Place(python, tmp_path_factory.mktemp("empty"))


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Place:
    python = make_venv(tmp_path_factory.mktemp("checkout") / "venv")
    lend_dependencies(python)
    return Place(python, ROOT)


@pytest.fixture(params=["from_wheel", "editable", "checkout"])
def place(request: pytest.FixtureRequest) -> Place:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Place)
    return found


def shipped(folder: str) -> set[str]:
    """Return the files of one of the checkout's folders, relative to the checkout."""
    paths = (path for path in (ROOT / folder).rglob("*") if path.is_file())
    return {str(path.relative_to(ROOT)) for path in paths if "__pycache__" not in path.parts}


def test_the_wheel_holds_the_package_the_scenarios_the_recipes_and_nothing_else(
    wheel: Path,
) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    info = {name for name in names if re.match(r"eventnet-[^/]+\.dist-info/", name)}
    resources = {f"eventnet/{name}" for folder in RESOURCES for name in shipped(folder)}
    assert {name.partition("/")[0] for name in names - info} == {"eventnet"}
    assert names - info == shipped("eventnet") | resources
    assert {"eventnet/py.typed", "eventnet/sims/drone.py", "eventnet/datasets/mnist.toml"} <= names
    assert any(name.endswith("licenses/LICENSE") for name in info)


def test_each_way_in_imports_its_own_eventnet(
    from_wheel: Place, editable: Place, checkout: Place
) -> None:
    """Were the lent dependencies to lend an eventnet too, the other tests would prove nothing."""
    home = "eventnet.__file__", "import eventnet"
    inside = str(from_wheel.python.parent.parent)
    assert str(from_wheel.evaluate(*home)).startswith(inside)
    assert editable.evaluate(*home) == checkout.evaluate(*home)
    assert editable.evaluate(*home) == str(ROOT / "eventnet" / "__init__.py")


@pytest.mark.parametrize("folder", RESOURCES)
def test_scenarios_and_recipes_are_found_by_name(place: Place, folder: str) -> None:
    files = (
        "[str(p) for p in folder(name).rglob('*') if p.is_file() and '__pycache__' not in p.parts]"
    )
    setup = f"from eventnet.resources import folder\nname = {folder!r}"
    found = place.evaluate(files, setup)
    assert isinstance(found, list)
    base = Path(str(place.evaluate("str(folder(name).parent)", setup)))
    assert {str(Path(path).relative_to(base)) for path in found} == shipped(folder)


def test_the_command_lists_the_same_scenarios_and_recipes(place: Place) -> None:
    scenarios = json.loads(place.run("-m", "eventnet", "scenarios", "--json"))
    recipes = json.loads(place.run("-m", "eventnet", "data", "list", "--json"))
    shown = [p.stem for p in (ROOT / "sims").iterdir() if p.suffix in (".py", ".toml")]
    assert set(scenarios) == {name for name in shown if not name.startswith("_")}
    assert set(recipes) == {path.stem for path in (ROOT / "datasets").glob("*.toml")}


@pytest.mark.parametrize("name", ["from_wheel", "editable"])
def test_names_that_belong_to_others_stay_free(name: str, request: pytest.FixtureRequest) -> None:
    """`import datasets` must not find ours; a namespace package would do, so no file is needed.

    The lent dependencies are taken off the path: somebody else's `datasets` may well be there.
    """
    place = request.getfixturevalue(name)
    setup = f"import importlib.util, sys\nsys.path.remove({DEPENDENCIES!r})"
    taken = f"[n for n in {FOREIGN} if importlib.util.find_spec(n)]"
    assert place.evaluate(taken, setup) == []
    assert place.evaluate("importlib.util.find_spec('eventnet') is not None", setup) is True


@pytest.mark.parametrize("name", ["from_wheel", "editable"])
def test_the_command_is_installed(name: str, request: pytest.FixtureRequest) -> None:
    place = request.getfixturevalue(name)
    version = call([str(place.python.parent / "eventnet"), "--version"], place.cwd)
    assert importlib.metadata.version("eventnet") in version


def test_cli_py_in_a_checkout_is_the_command(checkout: Place) -> None:
    as_module = checkout.run("-m", "eventnet", "--help")
    assert checkout.run("cli.py", "--help") == as_module.replace("python -m eventnet", "cli.py")


def test_the_scenario_in_the_scenarios_readme_runs_from_a_wheel(
    from_wheel: Place, tmp_path: Path
) -> None:
    (script,) = re.findall(r"```python\n(.*?)```", (ROOT / "sims" / "README.md").read_text(), re.S)
    (tmp_path / "my_robot.py").write_text(script)
    place = Place(from_wheel.python, tmp_path)
    command = ("-m", "eventnet", "run", "my_robot.py", "--json", "--engine", "actors")
    summary = json.loads(place.run(*command))
    assert summary["simulated_s"] == 10
    # A sine's mean absolute value is 2/pi: less means that something was learned.
    assert 0 < summary["metrics"]["mean |error|"] < 0.64
    assert (tmp_path / summary["folder"] / "metrics.json").is_file()


def test_help_appears_at_once() -> None:
    command = [str(Path(sys.executable).parent / "eventnet"), "--help"]
    call(command, ROOT)  # warm: the byte code is compiled, the files are cached
    seconds = []
    for _ in range(10):
        start = time.perf_counter()
        call(command, ROOT)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.3, "the least of ten: what others do on the machine only adds"


@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize(("forbidden", "code"), [("1", 1), ("", 0)])
def test_continuous_integration_fails_on_a_skipped_test(
    tmp_path: Path, workers: str, forbidden: str, code: int
) -> None:
    (tmp_path / "test_some.py").write_text(
        "import pytest\n\ndef test_passes(): ...\n\ndef test_skips(): pytest.skip('no network')\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "conftest", "-n", workers, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(ROOT / "tests"), "EVENTNET_NO_SKIP": forbidden},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "1 passed, 1 skipped" in done.stdout
    assert ("EVENTNET_NO_SKIP=1 forbids it" in done.stdout) == bool(forbidden)
