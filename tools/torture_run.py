#!/usr/bin/env python3
"""tools/torture_run.py [--faults=100] [--seed=0]

Lets faults befall a run, one launch after another (tests/cli/faults.py: kill -9, SIGTERM, SIGUSR1,
Ctrl-C, a full disk, a flipped bit in the newest checkpoint, a loader and a save that hang),
launches it to its end, and compares records, parameters and optimizer state with those of the same
run that nobody disturbed, bit by bit.
"""

import argparse
import os
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.cli.cli_helpers import CONFIG, assert_same_run, lm_lab  # noqa: E402
from tests.cli.faults import FAULTS, strike  # noqa: E402

STEPS_A_FAULT = 30  # so that there is work left until the last fault


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    draw, counts, begin = random.Random(asked.seed), Counter[str](), time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        os.environ["LM_LAB_CACHE"] = f"{name}/cache"
        (Path(name) / "config.py").write_text(CONFIG)
        words = ["train", f"--config={name}/config.py"]
        words += [f"--config.train.steps={STEPS_A_FAULT * asked.faults}"]
        words += ["--config.train.eval_every_steps=500", "--config.train.log_every_steps=20"]
        whole, hurt = Path(name, "whole"), Path(name, "hurt")
        assert lm_lab(*words, f"--workdir={whole}").returncode == 0
        launches = lost = 0
        for number in range(asked.faults):
            kind = draw.choice(list(FAULTS))
            code = strike(kind, [*words, f"--workdir={hurt}"], hurt, draw)
            counts[kind] += 1
            launches += code is not None
            lost += code == 0
            print(f"{number + 1}: {kind}: exit code {code}, {_step(hurt)}", file=sys.stderr)
        assert lm_lab(*words, f"--workdir={hurt}").returncode == 0
        assert_same_run(hurt, whole)
    listed = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    print(
        f"{asked.faults} faults ({listed}) in {launches} launches, {lost} of which ended before "
        f"theirs; then one to the end: the same to the bit; {time.monotonic() - begin:.0f} s"
    )


def _step(run: Path) -> str:
    steps = sorted(path.name for path in (run / "checkpoints").glob("step_*"))
    return steps[-1] if steps else "no checkpoint"


if __name__ == "__main__":
    main()
