"""Tiny tokenizers, trained here, in the file formats of transformers' models."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
import sentencepiece

TEXTS = (
    "the cat sat on the mat . a dog ran to the house , and the cat was not happy at all !",
    "Where is the dog ? The dog is in the garden ; it sleeps under a tree .",
)
TARGETS = ("die katze war auf der matte .", "wo ist der hund ? der hund schläft im garten .")
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")


def byte_level(folder: Path, *special: str, framed: bool = False) -> None:
    """A byte-level BPE: tokenizer.json. GPT-2's form, or, framed by <s> and </s>, BART's."""
    library = pytest.importorskip("tokenizers")
    made = library.Tokenizer(library.models.BPE())
    made.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = library.decoders.ByteLevel()
    alphabet = library.pre_tokenizers.ByteLevel.alphabet()
    trainer = library.trainers.BpeTrainer(
        vocab_size=300, special_tokens=list(special), initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(TEXTS, trainer)
    if framed:
        frame = [(name, made.token_to_id(name)) for name in ("</s>", "<s>")]
        made.post_processor = library.processors.RobertaProcessing(*frame, add_prefix_space=False)
    made.save(str(folder / "tokenizer.json"))


def byte_fallback(folder: Path) -> None:
    """LLaMA's form of tokenizer.json: ids 0 to 255 are bytes, then "a" with a space before it, and
    the end.
    """
    library = pytest.importorskip("tokenizers")
    names = [f"<0x{value:02X}>" for value in range(256)] + ["\u2581a", "</s>"]
    vocab = {name: number for number, name in enumerate(names)}
    made = library.Tokenizer(library.models.BPE(vocab, [], byte_fallback=True, fuse_unk=True))
    parts = library.decoders
    made.decoder = parts.Sequence(
        [parts.Replace("\u2581", " "), parts.ByteFallback(), parts.Fuse(), parts.Strip(" ", 1, 0)]
    )
    made.add_special_tokens(["</s>"])
    made.save(str(folder / "tokenizer.json"))


def word_piece(folder: Path) -> None:
    """BERT's: vocab.txt and the tokenizer.json of it."""
    library = pytest.importorskip("tokenizers")
    made = library.BertWordPieceTokenizer()
    made.train_from_iterator(TEXTS, vocab_size=120, show_progress=False)
    made.save_model(str(folder))
    made = library.BertWordPieceTokenizer(str(folder / "vocab.txt"))
    made.save(str(folder / "tokenizer.json"))


def pieces(path: Path, texts: tuple[str, ...] = TEXTS, **settings: Any) -> None:
    """A SentencePiece model."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter(texts * 20),
        model_writer=written,
        hard_vocab_limit=False,
        minloglevel=2,
        **settings,
    )
    path.write_bytes(written.getvalue())


def t5(folder: Path) -> None:
    """spiece.model, whose 4 sentinels are said beside it."""
    pieces(
        folder / "spiece.model",
        vocab_size=60,
        model_type="unigram",
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
    )
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>", "extra_ids": 4}))


def llama(folder: Path) -> None:
    """tokenizer.model, with all bytes."""
    pieces(folder / "tokenizer.model", vocab_size=300, model_type="bpe", byte_fallback=True)


def marian(folder: Path) -> None:
    """source.spm and target.spm, and the ids of both in vocab.json."""
    found = {"</s>": 0, "<unk>": 1}
    for name, texts in (("source", TEXTS), ("target", TARGETS)):
        pieces(folder / f"{name}.spm", texts, vocab_size=60)
        processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / f"{name}.spm"))
        for number in range(processor.GetPieceSize()):
            if processor.IdToPiece(number) not in SPECIAL:
                found.setdefault(processor.IdToPiece(number), len(found))
    found[">>de<<"] = len(found)
    (folder / "vocab.json").write_text(json.dumps(found | {"<pad>": len(found)}))
