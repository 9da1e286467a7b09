"""A model of every generative family, compiled once for all tests that ask it."""

import pytest

from lm_lab.evaluation.text_model import text_models
from lm_lab.train.evaluation_tasks import text_run
from tests.evaluation.asked import FAMILIES, params_of, task_of


@pytest.fixture(scope="session", params=FAMILIES)
def asked(request, tmp_path_factory):
    """(name, task, parameters, the model that is asked)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LM_LAB_CACHE", str(tmp_path_factory.getbasetemp() / "token_stores"))
        task = task_of(request.param)
        params = params_of(task)
    return request.param, task, params, text_models(text_run(task))(params)
