"""The suite runs on 8 virtual CPU devices, with compiled programs kept between runs outside the
tree.

On a CPU most of its time is compiling, so programs are compiled with few optimisations, here and in
the processes that tests start, unless JAX_DISABLE_MOST_OPTIMIZATIONS=false is set. Tests compile
with XLA's older emitters, which take a third of the time of those that users have, and its preset
for fast compilation. Processes compile with the emitters that users have: the tests of kills
(tests/cli) say of these, too, that runs end in the same bits. XLA_FLAGS, if set, holds for all.
"""

import gc
import os
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# Tracing makes millions of objects, nearly none of them in a cycle, so the collector would only
# cost time.
gc.set_threshold(200_000, 20, 100)

# nohup ignores SIGHUP, and processes inherit that: a handler of our own gives them the default.
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)

# A process of the suite has about one core, and its matrices are tiny: threads of PyTorch and of
# NumPy would wait for one another. They are read when these are imported.
for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(threads, "1")

# Without data sets, configs name files that do not exist; tests that read them skip.
SHARED = os.environ.get("LM_LAB_SHARED", Path(__file__).parents[2] / "shared")
os.environ.setdefault("LM_LAB_DATA", str(Path(SHARED, "data").absolute()))

ON_CPU = "cuda" not in os.environ.get("JAX_PLATFORMS", "cpu")
if ON_CPU:  # before jax is imported, which reads it
    os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "true")
import jax  # noqa: E402

if ON_CPU:
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", 8)
# One a worker: JAX writes an entry in place, and another process would read half of it.
jax.config.update(
    "jax_compilation_cache_dir",
    os.environ.get("LM_LAB_TEST_CACHE", f"{tempfile.gettempdir()}/lm_lab_xla")
    + os.environ.get("PYTEST_XDIST_WORKER", ""),
)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

# JAX 0.12 has no older emitters, and dies of the flag.
if ON_CPU and "XLA_FLAGS" not in os.environ and jax.__version_info__ < (0, 11):
    # Tiny programs are compiled in one piece: up to 32, as by default, take a quarter longer. On a
    # busy machine 8 devices may wait for one another longer than the 40 s after which XLA aborts.
    quick = (
        "--xla_cpu_use_fusion_emitters=false",
        "--xla_cpu_opt_preset=FAST_COMPILE",
        "--xla_cpu_parallel_codegen_split_count=1",
        "--xla_cpu_collective_call_terminate_timeout_seconds=300",
    )
    os.environ["XLA_FLAGS"] = " ".join(quick)
    jax.jit(lambda: 0)()  # XLA reads them at its first program: no process inherits them
    del os.environ["XLA_FLAGS"]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Token stores of tests are built once a session, and not among the user's."""
    with pytest.MonkeyPatch.context() as patch:  # which no test's monkeypatch.undo() undoes
        patch.setenv("LM_LAB_CACHE", str(tmp_path_factory.getbasetemp() / "token_stores"))
        yield


@pytest.fixture
def shared_data() -> Path:
    """The data sets beside the project; skips where they are absent."""
    data = Path(os.environ["LM_LAB_DATA"])
    if not data.is_dir():
        pytest.skip("the data sets beside the project are not here")
    return data


@pytest.fixture
def unsaved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are drawn but not saved: saving takes most of the time of a report."""
    monkeypatch.setattr("lm_lab.report.style.save", lambda *_: b"<svg/>")


# Begin first, the longest of them before the others; sweeps, which wait more than they compute,
# while pyright takes the core that they leave.
TOGETHER = (
    "tests/cli/",
    "tests/sweeps/",
    "tests/train/",
    "tests/report/",
    "tests/evaluation/",
    "tests/models/test_families.py",
    "tests/test_notebooks.py",
    "tests/releases/",
)


def group_of(nodeid: str) -> str:
    """What stays in one process: a file, or a folder whose files share runs or a report."""
    return next((name for name in TOGETHER if nodeid.startswith(name)), nodeid.partition("::")[0])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest groups come first, so that only short files are left for the end."""
    items.sort(key=lambda item: [name != group_of(item.nodeid) for name in TOGETHER])


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Gives each process whole groups, so that programs and fixtures are made once."""
    # not --dist=loadgroup: pytest 9.2 ignores how pytest-xdist 3.8 marks the groups
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    return Groups(config, log)


def pytest_collection_finish() -> None:
    """Keeps the bytecode of what was collected; tests compare whole folders, in which Python would
    leave it. What was imported lives to the end, so the collector need not look at it.
    """
    sys.dont_write_bytecode = True
    gc.freeze()


def pytest_sessionfinish() -> None:
    """Finds what tests left open in one collection rather than in the five of pytest."""
    gc.collect()
    gc.freeze()


SLOWEST = 12  # files that the summary names
seconds_by_file: Counter[str] = Counter()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Adds up the seconds of each file of tests, with its fixtures."""
    seconds_by_file[report.location[0]] += report.duration


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Names the slowest files, with their share of the time of all processes."""
    total = seconds_by_file.total()
    if total < 60:
        return
    terminalreporter.section(f"slowest files, of {total:.0f} s in all processes")
    for file, seconds in seconds_by_file.most_common(SLOWEST):
        terminalreporter.write_line(f"{seconds:7.1f} s  {seconds / total:4.0%}  {file}")
