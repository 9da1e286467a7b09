"""lm-lab report: a study's figures and report again, from its stored results alone.

lm-lab report runs/isoflop

--trust=PACKAGE,...         packages beside lm_lab whose code its analysis may name (default: none)
"""

from absl import flags

from lm_lab import report
from lm_lab.cli import arguments
from lm_lab.types import UserError

FLAGS = flags.FlagValues()
TRUST = arguments.define_trust(FLAGS)


def run(argv: list[str]) -> int:
    """Writes the report and says where. Raises UserError."""
    paths = arguments.parse(FLAGS, argv, "report")
    if len(paths) != 1:
        raise UserError("name one sweep directory, as in: lm-lab report runs/isoflop")
    print(f"report: {report.write(arguments.path(paths[0]), TRUST.value or ())}")
    return 0
