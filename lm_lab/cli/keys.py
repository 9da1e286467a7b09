"""lm-lab keys: every key of a config, with its default, meaning, type, range and choices.

  lm-lab keys                         # the sections
  lm-lab keys train                   # one of them
  lm-lab keys model.decoder           # what a choice reads: optimizer.lion, data.source.text, ...
  lm-lab keys model.my_research.models.gla
  lm-lab keys generate                # the settings of lm-lab generate, and of run.generate
  lm-lab keys analysis.comparison     # the keys of a study's analysis; also executor, searcher
  lm-lab keys --grep=warm             # the keys whose name or meaning has this word

On the command line a key is --config.SECTION.KEY=VALUE, in Python {"SECTION.KEY": VALUE}.
"""

from absl import flags

from lm_lab.cli import arguments
from lm_lab.cli.choice_table import choice_of, is_choice
from lm_lab.cli.key_table import entries, matching, render, section_of
from lm_lab.types import UserError

FLAGS = flags.FlagValues()
GREP = flags.DEFINE_string(
    "grep", None, "a word to look for", allow_overwrite=False, flag_values=FLAGS
)


def run(argv: list[str]) -> int:
    """Prints the keys. Raises UserError for a section that does not exist."""
    names = arguments.parse(FLAGS, argv, "keys")
    if len(names) > 1:
        raise UserError("name one section, as in: lm-lab keys model.decoder")
    if names:
        table = choice_of(names[0]) if is_choice(names[0]) else section_of(names[0])
    else:
        table = entries(deep=GREP.value is not None)
    if GREP.value is not None:
        table = matching(table, GREP.value)
    print("\n".join(render(table)))
    return 0
