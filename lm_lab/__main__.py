"""python -m lm_lab is lm-lab."""

from lm_lab.cli.main import main

main()
