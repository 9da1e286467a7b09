"""lm_lab in a notebook kernel: mistakes are one line, figures show themselves, interrupts save."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import tiny

pytest.importorskip("ipykernel")
jupyter_client = pytest.importorskip("jupyter_client")

pytestmark = pytest.mark.processes

# (code, called with each text that is printed) -> (name of the error or "", messages by type)
Cell = Callable[..., tuple[str, dict[str, Any]]]


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Any]:
    """An IPython kernel of this Python, in an empty folder."""
    manager = jupyter_client.KernelManager()
    spec = jupyter_client.kernelspec.KernelSpec(
        argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    )
    manager._kernel_spec = spec
    manager.start_kernel(cwd=str(tmp_path))
    yield manager
    manager.shutdown_kernel(now=True)


@pytest.fixture
def cell(kernel: Any) -> Iterator[Cell]:
    """Runs a cell."""
    client = kernel.client()
    client.start_channels()
    client.wait_for_ready(timeout=120)

    def run(code: str, printed: Callable[[str], None] = lambda text: None):
        shown: dict[str, Any] = {}

        def keep(message: dict[str, Any]) -> None:
            shown[message["msg_type"]] = message["content"]
            printed(message["content"].get("text", ""))

        reply = client.execute_interactive(code, timeout=300, output_hook=keep)["content"]
        return reply.get("ename", ""), shown

    yield run
    client.stop_channels()


def test_a_kernel_shows_mistakes_and_figures_and_saves_what_is_interrupted(kernel: Any, cell: Cell):
    cell(f"import lm_lab\ntiny = {tiny.config().to_dict()!r}")
    name, shown = cell("lm_lab.bind(tiny, {'model.dpeth': 2})")
    assert name == "UserError"
    line = "UserError: config.model.dpeth does not exist; did you mean 'depth'?"
    assert shown["error"]["traceback"] == [line]

    def interrupt(text: str) -> None:
        if "tok/s" in text and not interrupted:
            interrupted.append(text)
            kernel.interrupt_kernel()

    interrupted: list[str] = []
    long = "lm_lab.train_run(tiny, 'run', {'train.steps': 1_000_000})"
    assert cell(long, interrupt)[0] == "KeyboardInterrupt"
    assert interrupted
    name, shown = cell("run = lm_lab.open_run('run')\nprint('saved', len(run.params) > 0)")
    assert (name, shown["stream"]["text"]) == ("", "saved True\n")
    assert "image/png" in cell("run.figure()")[1]["execute_result"]["data"]
