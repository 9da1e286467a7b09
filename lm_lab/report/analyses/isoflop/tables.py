"""The tables of an isoFLOP report: laws by method, the surface, the valleys, variants, counts."""

from lm_lab.report import formatting
from lm_lab.report.analyses.isoflop.reading import at, largest_fitted, ratio
from lm_lab.report.analyses.isoflop.results import COUNTS, Results
from lm_lab.report.analyses.isoflop.words import SOURCES
from lm_lab.report.page import Cell, Notice, Number, Table
from lm_lab.scaling.records import Estimate, IsoflopAnalysis, PowerLaw, Variant


def laws(analysis: IsoflopAnalysis) -> Table:
    """Exponents and optima by each method side by side."""
    flops = largest_fitted(analysis)
    header = ["method", "a: N* ∝ C^a", "b: D* ∝ C^b", "N*", "D*", "D*/N*", "lowest loss"]
    rows: list[list[Cell]] = []
    for frontier in analysis.frontiers:
        params, tokens = (at(band, flops) for band in (frontier.params, frontier.tokens))
        share = ratio(frontier.tokens, frontier.params, flops)
        exponents = [
            formatting.estimate(frontier.exponent_params),
            formatting.estimate(frontier.exponent_tokens),
        ]
        optimum = [
            formatting.short_estimate(params),
            formatting.short_estimate(tokens),
            formatting.short_estimate(share),
            None if frontier.loss is None else formatting.estimate(at(frontier.loss, flops)),
        ]
        rows.append([frontier.method, *exponents, *optimum])
    level = formatting.percent(analysis.level)
    draws = f"{analysis.draws:,} draws, seed {analysis.seed}"
    caption = (
        f"Optima at {formatting.power(flops)} FLOPs, the largest budget fitted. Brackets: {level} "
        f"intervals over {draws}. C counts more than 6ND (attention, for one), so a and b need not "
        "add up to 1."
    )
    return Table(header, rows, caption)


def formulas(analysis: IsoflopAnalysis, unit: str) -> Table | None:
    """The fitted laws as formulas."""
    rows: list[list[Cell]] = [
        [
            f"{letter} of the valleys",
            _formula(letter, law),
            formatting.estimate(law.exponent),
            _share(law.residual),
        ]
        for letter, law in (
            ("N*", analysis.params_law),
            ("D*", analysis.tokens_law),
            ("L*", analysis.loss_law),
        )
        if law is not None
    ]
    surface = analysis.surface
    if surface is not None:
        rows.append(
            ["surface of approach 3", "L(N, D) = E + A·N^−α + B·D^−β", "", _share(surface.noise)]
        )
        for name in ("E", "A", "B", "alpha", "beta"):
            estimate: Estimate = getattr(surface, name)
            shown = {"alpha": "α", "beta": "β"}.get(name, name)
            rows.append(
                [
                    f"  {shown}",
                    f"nats per {unit}" if name == "E" else "",
                    formatting.estimate(estimate),
                    "",
                ]
            )
    if not rows:
        return None
    caption = (
        f"Fitted to {surface.points} points; condition number "
        f"{formatting.plain(surface.condition, 3)}."
        if surface
        else ""
    )
    return Table(["law", "formula", "exponent or parameter", "residual s.d."], rows, caption)


def _formula(letter: str, law: PowerLaw) -> str:
    exponent = formatting.minus(f"{law.exponent.value:.3f}")
    offset = f"{law.offset:.3f} + " if law.offset else ""
    return f"{letter}(C) = {offset}{formatting.plain(law.coefficient, 3)}·C^{exponent}"


def _share(deviation: float | None) -> str:
    return "none left" if deviation is None else formatting.percent(deviation)


def comparisons(analysis: IsoflopAnalysis, unit: str) -> Table:
    """The prediction of every law for the held-out budget, beside the observed value."""
    shown = {"loss": f"lowest loss (nats/{unit})", "params": "N*", "tokens": "D*"}
    rows: list[list[Cell]] = []
    for comparison in analysis.comparisons:
        is_loss = comparison.quantity == "loss"
        show = formatting.estimate if is_loss else formatting.short_estimate
        observed = (
            f"{comparison.observed:.3f}" if is_loss else formatting.short(comparison.observed)
        )
        verdict = {True: "inside", False: "outside", None: None}[comparison.inside]
        law = SOURCES[comparison.predictor]
        chosen = ", the predictor of the study" if comparison == analysis.held_out else ""
        rows.append(
            [
                shown[comparison.quantity],
                law + chosen,
                show(comparison.predicted),
                observed,
                verdict,
            ]
        )
    header = ["quantity", "predicted by", "prediction", "found", "in the interval"]
    budgets = {comparison.budget for comparison in analysis.comparisons}
    listed = formatting.listed([formatting.power(budget) for budget in sorted(budgets)])
    return Table(header, rows, f"The budget of {listed} FLOPs, which no law was fitted to.")


def valleys(analysis: IsoflopAnalysis, unit: str) -> Table:
    """The vertex of each budget's parabola."""
    header = ["budget (FLOPs)", "N*", "D*", "D*/N*", "lowest loss", "sizes", f"s.d. (nats/{unit})"]
    hidden = {point.budget for point in analysis.points if point.held_out}
    rows = [
        [
            Number(
                formatting.power(valley.budget) + (", held out" if valley.budget in hidden else ""),
                valley.budget,
            ),
            formatting.short_estimate(valley.params),
            formatting.short_estimate(valley.tokens),
            formatting.plain(valley.tokens.value / valley.params.value, 3),
            formatting.estimate(valley.loss),
            Number(str(valley.points), valley.points),
            Number(formatting.plain(valley.noise, 2), valley.noise)
            if valley.noise is not None
            else None,
        ]
        for valley in analysis.valleys
    ]
    return Table(
        header,
        rows,
        "Vertices of the parabolas in log N at each budget (approach 2), and the residual s.d. of "
        "the points.",
    )


def variants(analysis: IsoflopAnalysis) -> Table:
    """How the answer depends on arbitrary choices of the analysis."""
    flops = analysis.variants[0].flops
    header = ["variant", "a", "N*", "D*", "D*/N*"]
    rows = [_variant(variant) for variant in analysis.variants]
    return Table(
        header,
        rows,
        f"Optima at {formatting.power(flops)} FLOPs. A dash: the fit was refused under that "
        "choice.",
    )


def _variant(variant: Variant) -> list[Cell]:
    a, ratio = variant.exponent_params, variant.tokens_per_param
    return [
        formatting.readable(variant.name),
        None if a is None else Number(f"{a:.3f}", a),
        None
        if variant.params is None
        else Number(formatting.short(variant.params), variant.params),
        None
        if variant.tokens is None
        else Number(formatting.short(variant.tokens), variant.tokens),
        None if ratio is None else Number(formatting.plain(ratio, 3), ratio),
    ]


def counts(results: Results) -> Table:
    """The exponent of N* by what is counted as a parameter."""
    header = ["parameters counted", "a, approach 2", "a, approach 3"]
    rows: list[list[Cell]] = [
        [
            COUNTS[count.params],
            *(
                None if a is None else formatting.estimate(a)
                for a in (count.approach_2, count.approach_3)
            ),
        ]
        for count in results.counts
    ]
    return Table(
        header,
        rows,
        "The same runs with N counted in other ways. Everywhere else N is the first of these.",
    )


def notices(analysis: IsoflopAnalysis) -> list[Notice]:
    """Refusals first, then cautions; cautions of one kind are joined into one notice."""
    joined = [
        Notice(
            f"Refused: {item.kind}, {formatting.readable(item.where)}",
            formatting.readable(item.message),
            bad=True,
        )
        for item in analysis.refusals
    ]
    for kind in dict.fromkeys(caution.kind for caution in analysis.cautions):
        items = [caution for caution in analysis.cautions if caution.kind == kind]
        messages = "; ".join(formatting.placed(item.where, item.message) for item in items)
        joined.append(Notice(f"{kind[0].upper()}{kind[1:]}", f"{messages}."))
    return joined


def chosen(analysis: IsoflopAnalysis) -> Table | None:
    """The best of the other swept settings and the noise of seeds, one row for each size; None if
    there are neither.
    """
    shown = [point for point in analysis.points if point.chosen or point.loss_sd is not None]
    rows: list[list[Cell]] = [
        [
            Number(formatting.power(point.budget), point.budget),
            Number(formatting.short(point.params), point.params),
            point.chosen,
            Number(f"{point.loss:.4f}", point.loss),
            Number(str(point.seeds), point.seeds),
            None if point.loss_sd is None else Number(f"{point.loss_sd:.2g}", point.loss_sd),
        ]
        for point in shown
    ]
    header = ["budget (FLOPs)", "N", "best settings", "loss", "seeds", "s.d. over seeds"]
    return (
        Table(header, rows, "The best of what else was swept, mean over seeds.") if rows else None
    )
