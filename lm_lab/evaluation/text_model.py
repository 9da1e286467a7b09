"""A trained model as functions of texts for tasks: likelihoods of continuations and of whole texts,
generated texts, and outputs of a head on whole texts.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from itertools import chain, islice, pairwise

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from lm_lab.contracts import Likelihood, TextModel
from lm_lab.evaluation import greedy, reading_on, rows, scoring
from lm_lab.evaluation.rows import Row, Score, Shape
from lm_lab.evaluation.text_run import TextRun, require
from lm_lab.generation import padded
from lm_lab.types import Examples, Inputs, PyTree, UserError

TextModels = Callable[[PyTree], TextModel]


def text_models(run: TextRun) -> TextModels:
    """Parameters -> TextModel; programs are compiled once for all parameters, each at its first
    batch.
    """
    program = cache(partial(scoring.program, run))
    whole_text_program = cache(partial(reading_on.program, run)) if run.reads_on else program
    writer, head = greedy.Writer(run), _head(run)

    def model(params: PyTree) -> TextModel:
        def continuations(pairs: Sequence[tuple[str, str]]) -> list[Likelihood]:
            require(run, ["continuations"], "likelihoods of continuations")
            rows_of_pairs = [_continuation(run, *pair) for pair in pairs]
            shape = Shape(run.rows, run.limits, left=_left(run))
            size = sum(len(row.target) for text_rows in rows_of_pairs for row in text_rows)
            with run.progress("Scoring continuations", size, "tokens") as progress:
                all_rows = chain.from_iterable(rows_of_pairs)
                scores = rows.scored(program(), params, all_rows, shape, progress.add)
                return [_sum([next(scores) for _ in text_rows]) for text_rows in rows_of_pairs]

        def texts(texts: Sequence[str], joined: bool = False) -> list[Likelihood]:
            require(run, ["texts"], "likelihoods of whole texts")
            if not joined:
                ids = run.codec.encode_batch(texts)
                size = sum(map(len, ids))
                return [
                    _total(scores)
                    for scores in token_scores(run, whole_text_program(), params, ids, size)
                ]
            ids = run.codec.encode("".join(texts))
            (scores,) = token_scores(run, whole_text_program(), params, [ids], len(ids))
            return _by_text(run, texts, ids, scores)

        def write(prompts: Sequence[str], new_tokens: int, until: Sequence[str]) -> list[str]:
            require(run, ["write"], "written texts")
            return writer.write(params, prompts, new_tokens, until)

        def outputs(texts: Sequence[str]) -> np.ndarray:
            require(run, ["outputs"], "outputs of a head")
            return np.concatenate(list(_outputs(run, head, params, texts)))

        return TextModel(continuations, texts, write, outputs, run.kind.pseudo_likelihood)

    return model


def whole_program(run: TextRun) -> rows.Program:
    """The compiled program of `token_scores`."""
    return reading_on.program(run) if run.reads_on else scoring.program(run)


def token_scores(
    run: TextRun, program: rows.Program, params: PyTree, texts: Iterable[np.ndarray], size: int
) -> Iterator[Score]:
    """The scores of all `size` tokens of whole texts, given as ids; each token is scored once."""
    score = reading_on.scores if run.reads_on else _behind_windows
    with run.progress("Scoring text", size, "tokens") as progress:
        yield from score(run, program, params, iter(texts), progress.add)


def _behind_windows(
    run: TextRun,
    program: rows.Program,
    params: PyTree,
    texts: Iterator[np.ndarray],
    advance: Callable[[int], None],
) -> Iterator[Score]:
    pseudo = run.kind.pseudo_likelihood
    limits = run.limits if pseudo else (run.given, run.scored)
    shape = Shape(run.rows, limits, left=not pseudo, fixed=True)
    all_rows, row_counts = _counted(run, texts)
    scores = rows.scored(program, params, all_rows, shape, advance)
    empty = Score(np.zeros(0, np.float32), np.zeros(0, bool))
    for first in scores:
        while not row_counts[0]:
            yield empty
            del row_counts[0]
        row_scores = [first, *islice(scores, row_counts.pop(0) - 1)]
        yield Score(*map(np.concatenate, zip(*row_scores)))
    yield from (empty for _ in row_counts)


def _counted(run: TextRun, texts: Iterable[np.ndarray]) -> tuple[Iterator[Row], list[int]]:
    """(the rows of all texts, a list that gets the number of rows of each text as it is cut)."""
    counts: list[int] = []
    end = run.codec.end_of_document

    def cut() -> Iterator[Row]:
        for ids in texts:
            if run.kind.pseudo_likelihood:
                counts.append(len(ids))
                windows = range(0, len(ids), run.window)
                for window in (ids[i : i + run.window].tolist() for i in windows):
                    yield from (Row(window, [place]) for place in range(len(window)))
            else:
                counts.append(-(-len(ids) // run.scored))
                yield from rows.windows(ids, end, run.given, run.scored)

    return cut(), counts


def _continuation(run: TextRun, context: str, continuation: str) -> list[Row]:
    """The rows of a continuation; its tokens alone are scored."""
    end = run.codec.end_of_document
    if run.of_pairs:
        return _pair(run, context, continuation.lstrip())
    context_ids, target = split(run, context, continuation)
    if run.kind.pseudo_likelihood:
        tokens = [*context_ids, *target][-run.window :]
        first = max(0, len(tokens) - len(target))
        return [Row(tokens, [position]) for position in range(first, len(tokens))]
    return rows.continuation(context_ids or [end], target, run.limits, run.window)


def _pair(run: TextRun, source: str, target: str) -> list[Row]:
    """The rows of a pair. The source is cut from the left so that source and target fit the model's
    positions. Raises UserError for a target that does not fit.
    """
    source_ids = [*run.codec.of_source(run.as_source(source)).tolist(), run.codec.end_of_document]
    ids = run.codec.encode(target).tolist()
    source_limit, limit = run.limits
    if not run.needs_context and run.max_length is not None:
        source_limit = min(
            source_limit, run.max_length - len(ids) + 1
        )  # one row; its last token is never read
    if len(ids) > limit or source_limit < 1:
        raise UserError(
            f"a continuation has {len(ids)} tokens, and the model positions for {limit}; shorten "
            f"it: {target[:40]!r}"
        )
    return [Row(source_ids[-source_limit:], ids)] if ids else []


def split(run: TextRun, context: str, continuation: str) -> tuple[list[int], list[int]]:
    """(ids of the context, ids of the continuation), as lm_eval cuts them: spaces at the end of the
    context go to the continuation, and its ids are those of both texts together without the ids of
    the context.
    """
    trimmed = context.rstrip()
    continuation = context[len(trimmed) :] + continuation
    before = run.codec.encode(trimmed).tolist()
    return before, run.codec.encode(trimmed + continuation).tolist()[len(before) :]


def _left(run: TextRun) -> bool:
    return not (run.kind.pseudo_likelihood or run.of_pairs)


def _sum(parts: Sequence[Score]) -> Likelihood:
    nats = float(sum(part.nats.sum(dtype=np.float64) for part in parts))
    return Likelihood(
        nats, sum(len(part.nats) for part in parts), all(part.greedy.all() for part in parts)
    )


def _total(score: Score) -> Likelihood:
    return _sum([score])


def _by_text(
    run: TextRun, texts: Sequence[str], ids: np.ndarray, scores: Score
) -> list[Likelihood]:
    """The scores of the tokens of joined texts, by the text in which each token begins."""
    sizes = np.asarray(run.codec.bytes_of, np.float64)[ids]
    token_starts = np.cumsum(sizes) - sizes
    text_ends = np.cumsum([len(text.encode()) for text in texts])
    text_numbers = np.minimum(
        np.searchsorted(text_ends, token_starts, side="right"), len(texts) - 1
    )
    bounds = np.searchsorted(text_numbers, np.arange(len(texts) + 1))
    return [
        _total(Score(scores.nats[first:last], scores.greedy[first:last]))
        for first, last in pairwise(bounds)
    ]


def _head(run: TextRun) -> Callable[..., Array]:
    def outputs(params: PyTree, tokens_BL: Array, segments_BL: Array) -> Array:
        labels_B = jnp.zeros(tokens_BL.shape[0])
        examples = Examples(tokens_BL, labels_B[:, None] * tokens_BL, segments_BL, labels=labels_B)
        inputs: Inputs = run.objective.prepare(jax.random.key(0), examples).inputs
        return run.model.apply(scoring.WHOLE.variables(params, (), run.compute), inputs)[:, 0]

    return jax.jit(outputs)


def _outputs(
    run: TextRun, head: Callable[..., Array], params: PyTree, texts: Sequence[str]
) -> Iterator[np.ndarray]:
    """f32[rows C] a batch. A text of more tokens than the run's texts had is cut at its end."""
    end = run.codec.end_of_document
    with run.progress("Reading texts", len(texts), "texts") as progress:
        for first in range(0, len(texts), run.rows):
            ids = run.codec.encode_batch(texts[first : first + run.rows])
            padded_ids = [[*token_ids.tolist()[: run.length - 1], end] for token_ids in ids]
            outputs = head(params, *padded(padded_ids, (run.rows, run.length), left=False))
            yield np.asarray(outputs)[: len(padded_ids)]
            progress.add(len(padded_ids))
