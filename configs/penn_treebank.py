"""Penn Treebank by words: the small LSTM of 1409.2329, trained by truncated back-propagation with
its state carried from window to window.

Published: perplexity by word 120.7 (validation), 114.5 (test)
Command:   lm-lab train --config=configs/penn_treebank.py --workdir=runs/penn_treebank
           with ptb.train.txt, ptb.valid.txt and ptb.test.txt, as Mikolov prepared them, in
           data/penn_treebank (LM_LAB_DATA)
Cost:      2.0e14 FLOPs
Result:    not measured: the text is licensed, and was not at hand. docs/data.md has what the same
           recipe does on other text, and eval/ptb_valid/word_perplexity and
           eval/ptb_test/word_perplexity are what was published

The paper sums gradients over the 20 tokens of a window; here they are means over these. So its rate
1.0 and its largest norm 5 are 20 and 5 / 20. The end of a line is the word "\\n", in the place of
<eos>. Beside the 10,000 words the vocabulary has bytes that never occur, and the space that begins
a file is one word more: 0.01 of a perplexity.
"""

from ml_collections import ConfigDict

from lm_lab.data import published

LENGTH, BATCH, EPOCHS, HELD = 20, 20, 13, 4
STEPS = 2323  # in an epoch: the 929,589 words of the training text in 20 rows of windows of 20


def get_config() -> ConfigDict:
    """The config."""
    train, valid, test = (
        published.file("penn_treebank", f"ptb.{side}.txt") for side in ("train", "valid", "test")
    )
    config = ConfigDict()
    config.seed = 0
    config.model = ConfigDict({"family": "rnn", "cell": "lstm", "width": 200, "depth": 2})
    config.model.update({"residual": False, "norm": None, "head_bias": True, "initial_limit": 0.1})
    config.objective = ConfigDict({"name": "causal"})
    config.data = ConfigDict({"source": {"name": "text", "path": train, "heldout_path": valid}})
    config.data.update({"tokenizer": {"name": "words", "least_count": 1}, "length": LENGTH})
    config.optimizer = ConfigDict({"name": "sgd", "peak_rate": 1.0 * LENGTH})
    config.optimizer.clip_norm = 5.0 / LENGTH
    config.schedule = ConfigDict({"name": "step_decay", "factor": 0.5})
    config.schedule.update({"hold_fraction": HELD / EPOCHS, "falls": EPOCHS - HELD})
    config.train = ConfigDict({"steps": EPOCHS * STEPS, "batch_size": BATCH, "carry_state": True})
    config.train.update({"log_every_steps": 100, "eval_every_steps": STEPS})
    config.evaluation = ConfigDict(
        {"tasks": {"ptb_valid": perplexity(valid), "ptb_test": perplexity(test)}}
    )
    return config


def perplexity(path: str) -> dict[str, str]:
    """Perplexity by word of a whole file, its state carried from word to word."""
    return {"name": "perplexity", "path": path, "protocol": "penn_treebank"}
