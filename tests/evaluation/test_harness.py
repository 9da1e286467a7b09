"""EleutherAI's lm_eval over a run of every generative family, on local tasks: its numbers are those
of lm_lab's own tasks on the same data.
"""

import json

import pytest

from lm_lab.evaluation.tasks import last_word, multiple_choice, perplexity
from lm_lab.evaluation.tasks import written as writing
from lm_lab.evaluation.text_model import text_models
from lm_lab.train.evaluation_tasks import text_run
from lm_lab.types import UserError
from tests.evaluation.asked import params_of, task_of

harness = pytest.importorskip("lm_lab.evaluation.harness")
from lm_eval.api.instance import Instance  # noqa: E402 - where the extra is installed

QUESTIONS = [
    {"context": "ab", "choices": ["ba", "abba", "c"], "answer": 0},
    {"context": "ba b", "choices": ["a", "naïve"], "answer": 1},
    {"context": "a", "choices": ["b", "bb"], "answer": 0},
]
PASSAGES = [{"text": "ab ba abab"}, {"text": "a b"}, {"text": "ba bb"}]
ANSWERS = [{"source": "ab", "target": "b"}, {"source": "ba", "target": ""}]
YAML = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {path}}}}}
test_split: test
"""
TASKS = {
    "ours_choice": (
        QUESTIONS,
        """output_type: multiple_choice
doc_to_text: "{{context}}"
doc_to_choice: "{{choices}}"
doc_to_target: "{{answer}}"
metric_list: [{metric: acc}, {metric: acc_norm}, {metric: acc_bytes}]
""",
    ),
    "ours_last_word": (
        PASSAGES,
        """output_type: loglikelihood
doc_to_text: "{{text.rpartition(' ')[0]}}"
doc_to_target: "{{' ' + text.rpartition(' ')[2]}}"
metric_list: [{metric: acc}, {metric: perplexity}]
""",
    ),
    "ours_texts": (
        PASSAGES,
        """output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list: [{metric: word_perplexity}, {metric: bits_per_byte}]
""",
    ),
    "ours_written": (
        ANSWERS,
        """output_type: generate_until
doc_to_text: "{{source}}"
doc_to_target: "{{target}}"
generation_kwargs: {until: ["\\n"], max_gen_toks: 3, do_sample: false}
metric_list: [{metric: exact_match}]
""",
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """YAML files of local tasks, and their data."""
    place = tmp_path_factory.mktemp("harness")
    for name, (records, how) in TASKS.items():
        path = place / f"{name}.jsonl"
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        (place / f"{name}.yaml").write_text(YAML.format(name=name, path=path) + how)
    return place


@pytest.fixture(scope="module", autouse=True)
def offline(tmp_path_factory):
    """No hub is asked, and no cache of the user's is written to."""
    with pytest.MonkeyPatch.context() as patch:
        # the variables are read at import; without a network a hub is asked for half a minute
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        patch.setattr("datasets.config.HF_HUB_OFFLINE", True)
        patch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("datasets")))
        yield


@pytest.mark.filterwarnings("ignore")  # of lm_eval and datasets themselves
def test_the_harness_finds_what_our_own_tasks_do(folder):
    task = task_of("decoder")
    model = text_models(text_run(task))(params_of(task))
    report = harness.results(harness.LmLab(model, "run"), list(TASKS), str(folder), resamples=0)
    found = report["results"]

    def ours(task, name, **settings):
        config = task.Config(path=str(folder / f"{name}.jsonl"), **settings)
        return task.prepare(config)(model).values

    choice = ours(multiple_choice, "ours_choice")
    for metric in ("acc", "acc_norm", "acc_bytes"):
        assert found["ours_choice"][f"{metric},none"] == pytest.approx(choice[metric])
    word = ours(last_word, "ours_last_word")
    assert found["ours_last_word"]["acc,none"] == pytest.approx(word["accuracy"])
    assert found["ours_last_word"]["perplexity,none"] == pytest.approx(word["perplexity"])
    whole = ours(perplexity, "ours_texts", protocol="words")
    assert found["ours_texts"]["bits_per_byte,none"] == pytest.approx(whole["bits_per_byte"])
    assert found["ours_texts"]["word_perplexity,none"] == pytest.approx(whole["word_perplexity"])
    written = ours(writing, "ours_written", new_tokens=3)
    assert found["ours_written"]["exact_match,none"] == pytest.approx(written["exact_match"])
    header, *lines = harness.table(report).splitlines()
    assert header.split() == ["task", "shots", "filter", "metric", "value", "stderr"]
    line = next(line for line in lines if line.split()[:4] == ["ours_choice", "0", "none", "acc"])
    assert float(line.split()[4]) == pytest.approx(choice["acc"], abs=1e-4)


def request(kind: str, *arguments) -> Instance:
    return Instance(request_type=kind, doc={}, arguments=arguments, idx=0)  # type: ignore[arg-type]


def test_requests_of_every_family_are_answered_in_order(asked):
    name, _, _, model = asked
    lm = harness.LmLab(model, name)
    pairs = [("ab", " ba"), ("", "ab"), ("abba" * 9, "b")]
    found = lm.loglikelihood([request("loglikelihood", *pair) for pair in pairs])
    for (nats, greedy), own in zip(found, model.continuations(pairs), strict=True):
        assert nats == pytest.approx(own.nats)
        assert greedy == own.greedy
        assert nats < 0
    texts = ["ab ba", "abba" * 5]
    rolling = lm.loglikelihood_rolling([request("loglikelihood_rolling", text) for text in texts])
    assert rolling == pytest.approx([each.nats for each in model.texts(texts)])
    how = {"until": ["\n"], "max_gen_toks": 3}
    # another number of tokens is another program, of one family
    fewer = {"until": ["a"], "max_gen_toks": 2 if name == "decoder" else 3}
    asked = [("ab", how), ("ba", fewer), ("abba", how)]
    written = lm.generate_until([request("generate_until", *each) for each in asked])
    assert written[0] == model.write(["ab"], 3, ["\n"])[0]
    assert written[1] == model.write(["ba"], fewer["max_gen_toks"], ["a"])[0]


def test_samples_are_refused():
    lm = harness.LmLab(None, "run")
    with pytest.raises(UserError, match="only greedy texts are written"):
        lm.generate_until([request("generate_until", "a", {"do_sample": True})])


@pytest.mark.filterwarnings("ignore")
def test_what_is_not_here_is_one_line(tmp_path):
    missing = {
        "no_such_task": "--harness=no_such_task: lm_eval has no task of this name",
        "wikitext": "--harness=wikitext: lm_eval cannot run it",
    }
    for name, message in missing.items():
        with pytest.raises(UserError) as caught:
            harness.evaluate(harness.LmLab(None, "run"), [name], None)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"--include_path=.*gone: no such folder"):
        harness.evaluate(harness.LmLab(None, "run"), ["a"], str(tmp_path / "gone"))
