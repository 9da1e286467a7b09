"""Records: each once an epoch, whole, padded, in batches that are a function of the step."""

import json

import numpy as np
import pytest

from lm_lab.data import loader, records
from lm_lab.data.records import TEXTS
from lm_lab.data.sources import files, labelled, pairs
from lm_lab.data.text import Text
from lm_lab.data.tokenizers import byte
from lm_lab.schema import Chosen
from lm_lab.types import UserError
from tests.pairs import rows, write

TOKENIZER = byte.make(byte.Config())
END = TOKENIZER.end_of_document


@pytest.fixture
def source(tmp_path):
    """60 pairs, the last 10 held out."""
    write(tmp_path)
    return pairs.Config(str(tmp_path / "train.tsv"), str(tmp_path / "heldout.tsv"))


@pytest.fixture
def dataset(source, tmp_path):
    return open_pairs(source, tmp_path)


def open_pairs(source, tmp_path, **changes):
    section = {"length": 40, "context_length": 30, **changes}
    config = loader.Config(source=Chosen("pairs", source), **section)
    return Text(config, tmp_path / "cache").dataset


def cut(dataset, side="train", **changes):
    config = loader.Config(**{"length": 40, "context_length": 30, **changes})
    split = dataset.train if side == "train" else dataset.heldout
    return loader.cut(config, split, window=0, stride=0, batch_size=8, seed=3)


def texts(tokens, segments):
    """The texts of rows; each ends with end_of_document, and nothing stands after it."""
    for row, there in zip(
        tokens.reshape(-1, tokens.shape[-1]), segments.reshape(-1, tokens.shape[-1])
    ):
        size = int(there.sum())
        assert there[:size].all()
        assert not row[size:].any()
        if size:
            assert row[size - 1] == END
            yield TOKENIZER.decode(row[: size - 1])


def pairs_of(examples):
    sources = texts(examples.context, examples.context_segments)
    return list(zip(sources, texts(examples.tokens, examples.segments), strict=True))


def test_every_record_comes_back_whole_once_an_epoch(dataset):
    batches = cut(dataset)
    for epoch in range(2):
        found = pairs_of(batches.chunk(50 // 2 * epoch, 25))  # 25 batches of 8 are 4 epochs of 50
        assert sorted(found) == sorted(4 * rows()[:50])
    assert batches.steps_per_epoch == 6


def test_the_eval_set_has_every_held_out_record_once_and_then_padding(dataset):
    eval_set = loader.eval_set(cut(dataset, "heldout"), 1)
    assert eval_set.tokens.shape == (2, 8, 40)
    assert pairs_of(eval_set) == rows()[50:]
    assert eval_set.segments is not None
    assert not eval_set.segments[1, 2:].any()
    assert not eval_set.bytes[1, 2:].any()
    assert eval_set.bytes.sum() == sum(len(target.encode()) for _, target in rows()[50:])
    stored = [json.loads(line) for line in dataset.only.texts("heldout").read_text().splitlines()]
    assert [(each["source"], each["target"]) for each in stored] == rows()[50:]


def test_a_chunk_is_its_steps_and_seeds_have_orders_of_their_own(dataset):
    batches = cut(dataset)
    stacked = batches.chunk(4, 9)  # over the border of an epoch
    for row in range(9):
        for whole, part in zip(stacked, batches.at(4 + row)):
            assert (whole is None) == (part is None)
            if whole is not None and part is not None:
                np.testing.assert_array_equal(whole[row], part)
    other = loader.cut(
        loader.Config(length=40, context_length=30),
        dataset.train,
        window=0,
        stride=0,
        batch_size=8,
        seed=4,
    )
    assert not np.array_equal(other.at(0).tokens, batches.at(0).tokens)


def test_records_that_do_not_fit_are_refused_or_left_out_and_counted(dataset, capsys):
    with pytest.raises(
        UserError, match=r"config\.data\.length: \d+ of 50 train records.*too_long='drop'"
    ):
        cut(dataset, length=16)
    fitting = [row for row in rows()[:50] if len(row[1]) < 16]
    kept = cut(dataset, length=16, too_long="drop")
    assert sorted(set(pairs_of(kept.chunk(0, 20)))) == sorted(fitting)
    assert f"{50 - len(fitting)} of 50 train records are too long" in capsys.readouterr().err
    with pytest.raises(
        UserError, match=r"config\.data\.context_length: \d+ of 10 heldout records(?!.*drop)"
    ):
        cut(dataset, "heldout", context_length=9, too_long="drop")


def test_packed_rows_hold_each_record_whole_and_once(dataset, capsys):
    batches = cut(dataset, pack=True, length=60, context_length=44)
    chunk = batches.once(0, batches.epoch_rows)
    shares = [100 * (part > 0).mean() for part in (chunk.segments, chunk.context_segments)]
    said = "Records fill {:.2f} % of targets and {:.2f} % of sources in".format(*shares)
    assert said in capsys.readouterr().err
    numbers = batches.members[batches.members >= 0]
    assert sorted(numbers) == list(range(50))
    assert len(batches.members) < 25
    found = loader.eval_set(batches, 0)
    pairs, most = [], batches.members.shape[1]
    for number in range(1, most + 1):
        sides = ((found.context, found.context_segments), (found.tokens, found.segments))
        sources, targets = (
            [
                TOKENIZER.decode(row[own == number][:-1])
                for row, own in zip(flat(tokens), flat(segments))
            ]
            for tokens, segments in sides
        )
        pairs += [pair for pair in zip(sources, targets, strict=True) if pair != ("", "")]
    assert sorted(pairs) == sorted(rows()[:50])
    for tokens, segments in zip(flat(found.tokens), flat(found.segments)):
        assert (np.diff(segments)[: (segments > 0).sum() - 1] >= 0).all()
        assert not tokens[segments == 0].any()
    assert cut(dataset, "heldout", pack=True).members.shape == (10, 1)


def flat(rows):
    return rows.reshape(-1, rows.shape[-1])


def test_too_few_records_for_a_batch(dataset):
    with pytest.raises(
        UserError, match=r"config\.train\.batch_size: a batch needs 8.*has 5 that fit"
    ):
        cut(dataset, length=8, too_long="drop")
    with pytest.raises(
        UserError, match=r"config\.train\.batch_size: a batch needs 8 packed rows.*has 3 that fit"
    ):
        cut(dataset, length=400, context_length=300, pack=True)


def test_sides_by_text_where_the_source_gives_none(source, tmp_path):
    lines = [f"{'abc'[number % 3]} {number // 6}\ttarget {number}\n" for number in range(60)]
    (tmp_path / "train.tsv").write_text("".join(lines))
    dataset = open_pairs(pairs.Config(source.path), tmp_path, holdout_fraction=0.3)
    train, heldout = (
        pairs_of(loader.eval_set(cut(dataset, side), 0))
        if side == "heldout"
        else pairs_of(cut(dataset).chunk(0, 30))
        for side in ("train", "heldout")
    )
    assert not {source for source, _ in train} & {source for source, _ in heldout}
    assert len({*train, *heldout}) == 60
    with pytest.raises(UserError, match=r"config\.data\.split: 'tail'"):
        open_pairs(pairs.Config(source.path), tmp_path, split="tail")


def test_labels_travel_with_their_texts(tmp_path):
    (tmp_path / "a.tsv").write_text(
        "".join(f"text {number}\t{number / 2}\n" for number in range(30))
    )
    source = Chosen("labelled", labelled.Config(str(tmp_path / "a.tsv")))
    config = loader.Config(source=source, length=12)
    dataset = Text(config, tmp_path / "cache").dataset
    batches = loader.cut(config, dataset.train, window=0, stride=0, batch_size=4, seed=0)
    batch = batches.at(1)
    assert batch.context is None
    assert batch.labels is not None
    assert batch.labels.dtype == np.float32
    assert [f"text {int(2 * label)}" for label in batch.labels] == list(
        texts(batch.tokens, batch.segments)
    )
    eval_set = loader.eval_set(
        loader.cut(config, dataset.heldout, window=0, stride=0, batch_size=4, seed=0), 0
    )
    assert eval_set.labels is not None
    assert eval_set.segments is not None
    assert (eval_set.labels[~eval_set.segments.any(-1)] == 0).all()


def test_packed_texts_keep_their_labels(tmp_path):
    (tmp_path / "a.tsv").write_text(
        "".join(f"text {number}\t{number / 2}\n" for number in range(30))
    )
    source = Chosen("labelled", labelled.Config(str(tmp_path / "a.tsv")))
    config = loader.Config(source=source, length=20, pack=True)
    dataset = Text(config, tmp_path / "cache").dataset
    batches = loader.cut(config, dataset.train, window=0, stride=0, batch_size=4, seed=0)
    epoch = batches.chunk(0, batches.steps_per_epoch)
    assert epoch.labels is not None
    assert epoch.segments is not None
    assert epoch.labels.shape[-1] == TEXTS
    seen = set()
    for tokens, segments, labels in zip(
        *(leaf.reshape(-1, leaf.shape[-1]) for leaf in (epoch.tokens, epoch.segments, epoch.labels))
    ):
        for number in range(segments.max()):
            own = segments == number + 1
            (text,) = texts(tokens[None, own], segments[None, own] > 0)
            assert text == f"text {int(2 * labels[number])}"
            seen.add(text)
    assert len(seen) > 20


PREFERENCES = [
    (f"ask {number // 2}", f"good {number}", "bad" * (number % 4 + 1)) for number in range(60)
]


def preferences(tmp_path, **changes):
    """Batches of PREFERENCES, by side."""
    names = ("prompt", "chosen", "rejected")
    lines = [json.dumps(dict(zip(names, record))) for record in PREFERENCES]
    (tmp_path / "a.jsonl").write_text("\n".join(lines) + "\n")
    fields = {name: name for name in names}
    source = Chosen("files", files.Config(path=(str(tmp_path / "a.jsonl"),), **fields))
    config = loader.Config(source=source, **{"length": 48, "holdout_fraction": 0.3, **changes})
    dataset = Text(config, tmp_path / "cache").dataset
    return [
        loader.cut(config, split, window=0, stride=0, batch_size=4, seed=0)
        for split in (dataset.train, dataset.heldout)
    ]


def preferences_of(rows):
    """The records (prompt, chosen, rejected) of rows."""
    for tokens, segments, labels in zip(
        *(leaf.reshape(-1, leaf.shape[-1]) for leaf in (rows.tokens, rows.segments, rows.labels))
    ):
        count = int(segments.max())
        assert labels.tolist() == ([1.0, 0.0] * len(labels))[:count] + [0.0] * (len(labels) - count)
        assert not tokens[segments == 0].any()
        for first in range(1, count, 2):
            answers = [tokens[segments == number] for number in (first, first + 1)]
            ends = [np.flatnonzero(answer == END) for answer in answers]
            assert [own[-1] + 1 for own in ends] == [len(answer) for answer in answers]
            split = [np.split(answer, own + 1) for answer, own in zip(answers, ends)]
            (prompt, chosen, _), (again, rejected, _) = (
                [TOKENIZER.decode(part) for part in parts] for parts in split
            )
            assert prompt == again
            yield prompt, chosen, rejected


def test_both_answers_stand_side_by_side_and_a_prompt_is_on_one_side(tmp_path):
    train, heldout = preferences(tmp_path)
    sides = [list(preferences_of(train.once(0, 60))), list(preferences_of(heldout.once(0, 60)))]
    assert sorted(sides[0] + sides[1]) == sorted(PREFERENCES)
    prompts = [{prompt for prompt, _, _ in side} for side in sides]
    assert not prompts[0] & prompts[1]
    seen = list(preferences_of(train.chunk(0, train.steps_per_epoch)))
    assert len(set(seen)) == len(seen) > len(sides[0]) - 4
    stacked = train.chunk(1, 2)
    assert all((whole[1] == part).all() for whole, part in zip(stacked[:3], train.at(2)))
    with pytest.raises(
        UserError, match=r"config\.data\.length: \d+ of \d+ train records have more"
    ):
        preferences(tmp_path, length=20)


def test_packed_preferences_are_those_that_stand_alone(tmp_path, capsys):
    train, heldout = preferences(tmp_path)
    packed, _ = preferences(tmp_path, length=160, pack=True)
    assert "Records fill" in capsys.readouterr().err
    assert packed.chunk(0, 1).labels.shape == (1, 4, TEXTS)
    assert heldout.chunk(0, 1).labels.shape == (1, 4, 2)
    alone, together = (
        sorted(preferences_of(each.once(0, each.epoch_rows))) for each in (train, packed)
    )
    assert alone == together
    assert packed.epoch_rows < train.epoch_rows / 2


def test_preferences_without_prompts_are_not_one_group(tmp_path):
    lines = [json.dumps({"chosen": f"a{n}", "rejected": f"b{n}"}) for n in range(40)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    fields = {"chosen": "chosen", "rejected": "rejected"}
    source = Chosen("files", files.Config(path=(str(tmp_path / "a.jsonl"),), **fields))
    dataset = Text(loader.Config(source=source, holdout_fraction=0.3), tmp_path / "cache").dataset
    assert 4 < len(dataset.heldout.records.offsets) < 24


def test_a_row_has_no_more_texts_than_places():
    numbers, sizes = np.arange(3 * TEXTS), {"length": np.full(3 * TEXTS, 2)}
    rows = records._packed_rows(numbers, sizes, {"length": 10 * TEXTS}, TEXTS)
    assert rows.shape == (3, TEXTS)
    assert sorted(rows.ravel().tolist()) == numbers.tolist()


def test_the_manifest_covers_what_is_kept_of_records(dataset):
    folder = dataset.only.folder
    manifest = json.loads((folder / "manifest.json").read_text())
    assert set(manifest["files"]) == {file.name for file in folder.iterdir()} - {"manifest.json"}
    assert manifest["records"] == "pairs"
    assert manifest["bytes"] == sum(len(text.encode()) for row in rows() for text in row)


def test_damaged_records_are_seen(dataset, source, tmp_path):
    (dataset.only.folder / "train.index").write_bytes(b"")
    with pytest.raises(UserError, match=r"damaged \(train\.index: 0 bytes instead of \d+\)"):
        open_pairs(source, tmp_path)
