"""Norms by label are those of all leaves with the label together."""

import numpy as np
import pytest

from lm_lab.engine.norms import norms_by


def test_norms_are_of_all_leaves_with_a_label_and_of_each_layer_where_these_are_stacked():
    random = np.random.default_rng(0)
    tree = {"a": random.normal(size=(3, 2, 4)), "b": random.normal(size=(3, 5)), "c": np.ones(2)}
    labels = {"a": "body", "b": "body", "c": "head"}
    doubled = {name: 2 * leaf for name, leaf in tree.items()}
    together = norms_by(labels, dict.fromkeys(tree, False))(doubled, tree, doubled)
    body = np.sqrt((tree["a"] ** 2).sum() + (tree["b"] ** 2).sum())
    wanted = {"update_norm/body": body, "update_norm/head": 2**0.5}
    assert {name: together[name] for name in wanted} == pytest.approx(wanted)
    assert together["gradient_norm/body"] == pytest.approx(2 * body)
    layers = norms_by(labels, {"a": True, "b": True, "c": False})(tree, tree, tree)
    of_each = np.sqrt((tree["a"] ** 2).sum((1, 2)) + (tree["b"] ** 2).sum(1))
    assert layers["parameter_norm/body"] == pytest.approx(of_each)
    assert len(layers) == 6
