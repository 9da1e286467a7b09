"""Collectives and their bytes, read from what XLA says of a compiled program."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from lm_lab.compute.collectives import Collective, collectives

BODY = """
%sum (a: f32[], b: f32[]) -> f32[] {
  ROOT %r = f32[] add(%a, %b)
}

%body (p: (s32[], f32[8,16])) -> (s32[], f32[8,16]) {
  %g = f32[8,16]{1,0} all-gather(%x), channel_id=1, replica_groups=[4,2]<=[4,2]T(1,0), dimensions={0}
  ROOT %t = (s32[], f32[8,16]) tuple(%i, %g)
}

ENTRY %main (p: f32[8,16]) -> f32[8,16] {
  %w = (s32[], f32[8,16]) while(%c), condition=%test, body=%body, backend_config={"known_trip_count":{"n":"5"}}
  %r = (bf16[4]{0}, f32[2,3]{1,0}) all-reduce(%a, %b), replica_groups={{0,1,2,3},{4,5,6,7}}, to_apply=%sum
  %s = f32[10]{0} reduce-scatter(%y), replica_groups=mesh['a'=2,'b'=4], device_ids=([2,2,2]T(1,0,2)) {'b'}, dimensions={0}, to_apply=%sum
  %d = (f32[6]{0}, f32[24]{0}) all-gather-start(%z), replica_groups=[2,4]<=[8], dimensions={0}
  %e = f32[24]{0} all-gather-done(%d)
  ROOT %q = f32[8,16]{1,0} collective-permute(%v), source_target_pairs={{0,1},{1,0}}
}
"""  # noqa: E501


def test_loops_multiply_and_rings_send_their_share():
    assert collectives(BODY) == {
        "all-gather": Collective(6, 5 * (8 * 16 * 4) // 2 + 24 * 4 * 3 // 4),
        "all-reduce": Collective(1, 2 * (4 * 2 + 2 * 3 * 4) * 3 // 4),
        "reduce-scatter": Collective(1, 10 * 4 * 3),
        "collective-permute": Collective(1, 8 * 16 * 4),
    }


@pytest.mark.skipif(jax.device_count() < 8, reason="needs the 8 virtual devices of the suite")
def test_a_scan_over_split_kernels_gathers_each_of_them():
    mesh = jax.make_mesh((8,), ("fsdp",))

    def chain(x, kernels):
        return lax.scan(lambda x, kernel: (jnp.tanh(x @ kernel), None), x, kernels)[0]

    rows, split = (NamedSharding(mesh, P(*axes)) for axes in (("fsdp",), (None, "fsdp")))
    x = jax.ShapeDtypeStruct((64, 32), jnp.float32, sharding=rows)
    kernels = jax.ShapeDtypeStruct((3, 32, 32), jnp.float32, sharding=split)
    step = jax.jit(chain, out_shardings=rows).lower(x, kernels).compile()
    text = step.as_text()
    assert text is not None
    assert collectives(text) == {"all-gather": Collective(3, 3 * 32 * 32 * 4 * 7 // 8)}
