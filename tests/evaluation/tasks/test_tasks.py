"""What each task makes of a model whose answers are known, and of files that are none."""

import gzip
import json
import math

import numpy as np
import pytest

from lm_lab import registry
from lm_lab.evaluation import bootstrap
from lm_lab.evaluation.tasks import labelled, last_word, minimal_pairs, multiple_choice, perplexity
from lm_lab.evaluation.tasks import written as writing
from lm_lab.evaluation.tasks.perplexity import words
from lm_lab.library import scoring
from lm_lab.schema import build
from lm_lab.types import UserError
from tests.evaluation.tasks import fakes


def lines(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


def scores(task, model, **settings):
    """What a task finds of a model."""
    config = build(task.TASK.Config, settings, "task")
    return task.TASK.prepare(config)(model)


def test_multiple_choice_is_scored_as_lm_eval_does(tmp_path):
    path = lines(
        tmp_path / "a.jsonl",
        {"context": "Q", "choices": ["no", "a long answer"], "answer": 1},
        {"context": "Q", "choices": ["yes", "ja, 네"], "answer": 0},
    )
    costs = {" no": -3.0, " a long answer": -6.5, " yes": -5.0, " ja, 네": -8.0}
    found = scores(multiple_choice, fakes.model(lambda _, text: costs[text]), path=path)
    # sums choose "no" and "yes"; by characters (2, 13; 3, 5) the long answer (-0.5 > -1.5) and
    # "ja, 네" (-1.6 > -1.67); by bytes (2, 13; 3, 7) both second; by tokens (3, 14; 4, 6) too, but
    # "yes" (-1.25 > -1.33)
    assert found.values == {"acc": 0.5, "acc_norm": 0.5, "acc_bytes": 0.5, "acc_tokens": 1.0}
    np.testing.assert_array_equal(found.statistics["acc_norm"], [1, 0])
    np.testing.assert_array_equal(found.statistics["acc"], [0, 1])


def test_minimal_pairs_count_the_good_sentences_that_are_likelier(tmp_path):
    pairs = [("a b", "a b b"), ("a b c", "a b"), ("a", "b")]
    records = [{"sentence_good": good, "sentence_bad": bad} for good, bad in pairs]
    folder = tmp_path / "blimp"
    folder.mkdir()
    lines(folder / "one.jsonl", *records[:2])
    (folder / "two.jsonl.gz").write_bytes(gzip.compress(json.dumps(records[2]).encode()))
    found = scores(minimal_pairs, fakes.model(), path=str(folder))
    assert found.values == {"accuracy": pytest.approx(1 / 3), "margin": 0.0}


def test_the_last_word_is_what_follows_the_last_space(tmp_path):
    asked = []

    def nats(context, text):
        asked.append((context, text))
        return -0.5 if text == " end" else -2.5

    path = lines(tmp_path / "a.jsonl", {"text": "so it will end"}, {"text": "and so on\n"})
    found = scores(last_word, fakes.model(nats), path=path)
    assert asked == [("so it will", " end"), ("and so", " on")]
    assert found.values == {"accuracy": 0.5, "perplexity": pytest.approx(math.exp(1.5))}


def test_measures_of_written_texts_are_sacrebleus(tmp_path):
    sacrebleu = pytest.importorskip("sacrebleu")
    targets = ["the cat is on the mat", "there is a dog in the park", "나는 밥을 먹었다"]
    hypotheses = ["the cat sat on the mat", "a dog is in the park", "나는 밥을 먹는다"]
    prompts = dict(zip(["1", "2", "3"], hypotheses))
    records = [{"source": key, "target": each} for key, each in zip(prompts, targets)]
    path = lines(tmp_path / "a.jsonl", *records)
    model = fakes.model(written=lambda prompt: f" {prompts[prompt]} ")
    for tokenizer in ("13a", "char"):
        found = scores(
            writing,
            model,
            path=path,
            measures=["bleu", "chrf", "exact_match", "rougeL"],
            bleu_tokenizer=tokenizer,
        )
        expected = sacrebleu.corpus_bleu(hypotheses, [targets], tokenize=tokenizer).score
        assert found.values["bleu"] == pytest.approx(expected)
        assert found.values["chrf"] == pytest.approx(
            sacrebleu.corpus_chrf(hypotheses, [targets]).score
        )
        assert found.values["exact_match"] == 0
        # of any documents as of these alone
        some = {name: values[[0, 0, 2]] for name, values in found.statistics.items()}
        drawn = [[each[place] for place in (0, 0, 2)] for each in (hypotheses, targets)]
        expected = sacrebleu.corpus_bleu(drawn[0], [drawn[1]], tokenize=tokenizer).score
        assert found.metrics(some)["bleu"] == pytest.approx(expected)
        expected = sacrebleu.corpus_chrf(drawn[0], [drawn[1]]).score
        assert found.metrics(some)["chrf"] == pytest.approx(expected)


def test_words_are_counted_as_tables_count_them():
    text = " no it was n't <unk> monday \n \n = Title = \n"
    assert words(text, "wikitext") == words(text, "penn_treebank") == 9 + 3
    assert words(text, "words") == 9
    assert words("two words", "wikitext") == 3


def test_perplexity_is_by_word_and_bits_by_byte_of_each_source(tmp_path):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/one.txt").write_text("a b\n네\n")
    lines(tmp_path / "texts/two.jsonl", {"text": "abcd"}, {"text": "ef"})
    found = scores(perplexity, fakes.model(), path=str(tmp_path / "texts"))
    # a nat a character: 6 of one, 6 of two; words 3 + 2 lines, 2 + 2
    assert found.values == pytest.approx(
        {
            "word_perplexity": math.exp(12 / 9),
            "nll": 1.0,
            "bits_per_byte": 12 / math.log(2) / 14,
            "one/bits_per_byte": 6 / math.log(2) / 8,
            "two/bits_per_byte": 1 / math.log(2),
        }
    )
    pseudo = scores(perplexity, fakes.model()._replace(pseudo=True), path=str(tmp_path / "texts"))
    assert set(pseudo.values) >= {"pseudo_word_perplexity", "one/pseudo_bits_per_byte"}
    (line,) = scoring.differences("text", found, pseudo)
    assert line == "text has no metric of both, and no difference"
    halves = found._replace(statistics={**found.statistics, "tokens": np.full(4, 9)})
    compared = [line.split()[1] for line in scoring.differences("text", found, halves)]
    assert "bits_per_byte" in compared
    assert "nll" not in compared


def test_intervals_of_a_text_are_over_its_lines_and_not_over_blank_ones(tmp_path):
    (tmp_path / "one.txt").write_text("\n" + "a b\n\n \n" * 3)
    found = scores(perplexity, fakes.model(), path=str(tmp_path / "one.txt"))
    (tmp_path / "other.txt").write_text("a\u2028b\x0cc\n")  # breaks of pages are no ends of lines
    other = scores(perplexity, fakes.model(), path=str(tmp_path / "other.txt"))
    assert other.statistics["words"].tolist() == [4]
    assert found.of == "lines of text"
    assert found.statistics["bytes"].tolist() == [1, 7, 7, 7]
    assert found.statistics["words"].tolist() == [1, 5, 5, 5]
    assert found.statistics["nats"].sum() == pytest.approx(22)


def test_documents_that_are_drawn_may_all_be_empty(tmp_path):
    lines(tmp_path / "a.jsonl", {"text": "ab"}, {"text": ""})
    found = scores(perplexity, fakes.model(), path=str(tmp_path / "a.jsonl"))
    assert bootstrap.intervals(found)["nll"] == (1.0, 1.0, 1.0)


def test_measures_of_classes_are_those_of_scikit_learn(tmp_path):
    metrics = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(0)
    for classes in (2, 4):
        labels, chosen = generator.integers(0, classes, (2, 80))
        path = tmp_path / f"{classes}.tsv"
        path.write_text("".join(f"{place}\t{label}\n" for place, label in enumerate(labels)))
        model = fakes.model(outputs=lambda text, c=classes, k=chosen: np.eye(c)[k[int(text)]])
        found = scores(labelled, model, path=str(path)).values
        average = "binary" if classes == 2 else "macro"
        assert found == pytest.approx(
            {
                "accuracy": metrics.accuracy_score(labels, chosen),
                "f1": metrics.f1_score(labels, chosen, average=average),
                "matthews": metrics.matthews_corrcoef(labels, chosen),
            }
        )


def test_values_are_correlated_with_labels(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("1\t2\n2\t4.5\n3\t6\n")
    found = scores(labelled, fakes.model(outputs=lambda text: [float(text)]), path=str(path))
    assert found.values["spearman"] == pytest.approx(1)
    assert found.values["pearson"] == pytest.approx(np.corrcoef([1, 2, 3], [2, 4.5, 6])[0, 1])


@pytest.mark.parametrize(
    "task, content, message",
    [
        (minimal_pairs, None, "path: no file"),
        (minimal_pairs, "", "is empty; give a file with a JSON object a line"),
        (minimal_pairs, '{"sentence_good": "a"}', ":1 has no field 'sentence_bad'; its fields:"),
        (minimal_pairs, '{"sentence_good": 3}', ":1: 'sentence_good' must be text, not 3"),
        (minimal_pairs, "[1]", ":1 is not a JSON object"),
        (minimal_pairs, "{", ":1 is not JSON"),
        (minimal_pairs, b"\xff", "is not UTF-8"),
        (multiple_choice, '{"context": "", "choices": ["a"], "answer": 1}', "'answer' is 1, and"),
        (multiple_choice, '{"context": "", "choices": [], "answer": 0}', "must list texts"),
        (last_word, '{"text": "word"}', "has no word before the last"),
        (perplexity, "", "is empty"),
    ],
)
def test_what_is_no_task_is_one_line(tmp_path, task, content, message):
    path = tmp_path / "task.jsonl"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as caught:
        scores(task, fakes.model(), path=str(path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", registry.names("evaluation.tasks"))
def test_every_task_says_what_it_needs(name):
    task = registry.load("evaluation.tasks", name, "task")
    assert task.needs
    assert "path" in task.Config.__dataclass_fields__
