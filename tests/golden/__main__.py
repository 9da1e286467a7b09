"""python -m tests.golden: write the golden files anew, once a change of them has been decided."""

import json

from tests.train.test_sections import GOLDEN, defaults

if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(defaults(), indent=1) + "\n")
