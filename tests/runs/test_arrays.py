"""Arrays on the disk: their bits, shapes, dtypes and shardings, and a disk that is full."""

import logging
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from lm_lab.runs import arrays
from lm_lab.runs.checkpoint import Checkpoints
from lm_lab.runs.commits import committed
from lm_lab.runs.sealed import MANIFEST, read_manifest, sums_of, write_manifest
from lm_lab.types import UserError
from tests.runs.states import abstract, assert_same_bits, latest, load, make_state, save_steps


@pytest.mark.parametrize(
    "change, message",
    [
        (
            lambda s: s._replace(step=jax.ShapeDtypeStruct((), jnp.float32)),
            r"step is int32\[\] in the checkpoint and float32\[\] in this run",
        ),
        (
            lambda s: s._replace(
                params={**s.params, "half": jax.ShapeDtypeStruct((8, 16), jnp.bfloat16)}
            ),
            r"params\.half is bfloat16\[16,8\] in the checkpoint and bfloat16\[8,16\]",
        ),
        (
            lambda s: s._replace(params={**s.params, "more": s.step}),
            r"params\.more is absent in the checkpoint and int32\[\]",
        ),
        (
            lambda s: s._replace(params={"head": s.params["head"], "half": s.params["half"]}),
            r"params\.layers\.0 is float32\[16,8\] in the checkpoint and absent",
        ),
    ],
)
def test_another_shape_or_dtype_or_tree_is_refused(two_steps, change, message):
    with pytest.raises(UserError, match=message):
        load(two_steps, change(abstract(make_state(0))))


def test_a_sharded_state_is_restored_to_other_devices(tmp_path):
    def place(state, devices, spec):
        mesh = jax.make_mesh(
            (devices,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:devices]
        )
        split = NamedSharding(mesh, spec)
        return jax.tree.map(
            lambda x: split if x.ndim == 2 else NamedSharding(mesh, PartitionSpec()), state
        )

    state = make_state(1)
    with Checkpoints(tmp_path, 1, "spec") as checkpoints:
        many = min(8, jax.device_count())
        checkpoints.save(
            1, jax.device_put(state, place(state, many, PartitionSpec("data"))), {}, None
        )
        for devices, spec in (
            (many, PartitionSpec(None, "data")),
            (max(1, many // 2), PartitionSpec("data")),
        ):
            shardings = place(state, devices, spec)
            target = jax.tree.map(
                lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
                abstract(state),
                shardings,
            )
            _, restored, _ = latest(checkpoints, target)
            assert_same_bits(restored, state)
            assert jax.tree.map(lambda x: x.sharding, restored) == shardings


def test_the_host_copy_shares_no_memory():
    for array in (jnp.arange(1000.0), np.arange(1000.0), jnp.bfloat16(3)):
        assert not np.shares_memory(arrays.to_host(array), np.asarray(array))


def test_a_disk_too_small_is_told_before_the_first_byte(directory, monkeypatch):
    monkeypatch.setattr(arrays.shutil, "disk_usage", lambda _: SimpleNamespace(free=2**20))
    monkeypatch.setattr(arrays.ocp, "save", None)
    with pytest.raises(UserError, match=r"No space left on device \(1 MiB needed\)"):
        save_steps(directory, [30])
    assert load(directory)[0] == 20


def test_no_file_names_the_machine_s_path_and_older_ones_that_do_are_read(directory):
    newest = committed(directory)[0]
    assert not any(b"/draft_" in path.read_bytes() for path in newest.rglob("*") if path.is_file())
    fields, _ = read_manifest(newest)
    (newest / MANIFEST).unlink()
    (newest / "commit_success.txt").write_text(f"Checkpoint commit was successful to {newest}")
    write_manifest(newest, {**fields, "files": sums_of(newest)})
    step, state, _ = load(directory)
    assert step == 20
    assert_same_bits(state, make_state(20))


def test_what_orbax_logs_of_a_failed_save_is_left_out(tmp_path, monkeypatch, caplog):
    def fail(*_):
        logging.getLogger("absl").error("a traceback of a hundred lines")
        raise ValueError("RESOURCE_EXHAUSTED: ... os_error_code='28'")

    monkeypatch.setattr(arrays.ocp, "save", fail)
    with pytest.raises(UserError, match="No space left on device; free some space"):
        save_steps(tmp_path, [1])
    assert caplog.text == ""
    logging.getLogger("absl").error("heard again")
    assert "heard again" in caplog.text


def test_checkpoints_of_several_runs_save_at_the_same_time(tmp_path: Path) -> None:
    state = {"x": jnp.arange(1000.0), "y": {"z": jnp.ones((64, 64))}}
    with ExitStack() as stack:
        runs = [stack.enter_context(Checkpoints(tmp_path / str(i), 2, "spec")) for i in range(4)]
        for step in range(1, 6):
            for run in runs:
                run.save(step, state, {}, None)
        for run in runs:
            found = run.latest(jax.eval_shape(lambda: state))
            assert found is not None
            assert found[0] == 5
