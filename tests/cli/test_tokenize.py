"""`lm-lab tokenize`: its figures are those of the text, and training reads the file that it
writes.
"""

import pytest

from lm_lab.cli import tokenize
from lm_lab.data.tokenizers import byte, words
from lm_lab.types import UserError


@pytest.fixture
def words_of(tmp_path, monkeypatch):
    """The arguments that tokenize a folder of 40 texts by words."""
    monkeypatch.setenv("LM_LAB_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "texts"
    folder.mkdir()
    for number in range(40):
        (folder / f"{number}.txt").write_text(f"the same words again, and once {number} 한글")
    return ["--source=text", f"--source.path={folder}", "--tokenizer=words"]


def rows(printed):
    """The columns of each side."""
    lines = [line.split() for line in printed.splitlines()]
    return {line[0]: line for line in lines if line and line[0] in ("train", "held")}


def test_the_figures_are_those_of_the_text(words_of, capsys):
    assert tokenize.run([*words_of, "--tokenizer.most_words=3", "--samples=1"]) == 0
    printed = capsys.readouterr().out
    total = sum(len(f"the same words again, and once {n} 한글".encode()) for n in range(40))
    assert f"40 documents, {total:,} bytes" in printed
    assert "260 ids" in printed  # 256 bytes, 3 words and the end
    unknown, spelt = (rows(printed)["train"][place] for place in (3, 5))
    assert 0 < float(unknown) < 100
    assert 0 < float(spelt) < float(unknown)
    assert "|한|글" in printed  # a sample, in which they are spelt


def test_what_it_writes_is_read_again(words_of, tmp_path, capsys):
    out = tmp_path / "out.vocabulary"
    tokenize.run([*words_of, f"--out={out}"])
    first = capsys.readouterr().out
    assert f"wrote {out}" in first
    (tmp_path / "texts" / "more.txt").write_text("entirely new text, twice entirely new")
    tokenize.run([*words_of, f"--vocabulary_file={out}"])
    assert first.splitlines()[0] == capsys.readouterr().out.splitlines()[0]  # the identity
    characters = [*words_of[:2], "--tokenizer=characters", f"--vocabulary_file={out}"]
    with pytest.raises(UserError, match=r"learnt by the tokenizer 'words'.*is 'characters'"):
        tokenize.run(characters)
    out.write_bytes(out.read_bytes()[:-4])
    with pytest.raises(UserError, match=r"vocabulary_file .*: damaged"):
        tokenize.run([*words_of, f"--vocabulary_file={out}"])


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "give --config=FILE or --source=NAME"),
        (["--source=txt"], "did you mean 'text'"),
        (["--source=text"], r"config\.data\.source\.path is missing"),
        (["--source=synthetic", "--out=x"], "--out=x: the tokenizer 'byte' learns nothing; leave"),
        (
            ["--source=synthetic", "--vocabulary_file=x"],
            "--vocabulary_file=x: the tokenizer 'byte'",
        ),
        (["--source=synthetic", "--tokenizer=words", "--vocabulary_file=none"], "cannot be read"),
        (["--source=synthetic", "there"], "unexpected argument 'there'"),
    ],
)
def test_mistakes_are_one_line(arguments, message, tmp_path, monkeypatch):
    monkeypatch.setenv("LM_LAB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=message):
        tokenize.run(arguments)


def test_characters_of_several_bytes_stay_together():
    codec = byte.make(byte.Config())
    assert list(tokenize.segments(codec, codec.encode("a한b").tolist())) == ["a", "한", "b"]
    codec = words.make(words.Config(), words.learn(words.Config(), ["a b a b"]))
    assert list(tokenize.segments(codec, codec.encode("a b").tolist())) == ["a", "b"]
