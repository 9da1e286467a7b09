"""Published tables fitted again: do our laws return the figures that their papers print?

  python experiments/published.py

reads the tables in the folder `scaling` of LM_LAB_DATA (default: data), and that of 2404.10102
where a user has put it there, as svg_extracted_data.csv of epoch-research/analyzing-chinchilla. It
prints a table in Markdown: ours with 90 % intervals beside the published figure. A minute on one
core; the answer is in published.md, with how each published figure was confirmed.
"""

import csv
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import lm_lab
from lm_lab.data import published
from lm_lab.library.laws import Law
from lm_lab.report import formatting
from lm_lab.scaling.records import Estimate

Row = dict[str, str]
FIVE_RUNS = (("96", "20"), ("512", "20"), ("576", "20"), ("1024", "20"), ("96", "320"))
SURFACE = ("E", "A", "B", "alpha", "beta")


class Case(NamedTuple):
    """A table, the law fitted to it, and what its paper says of the parameters."""

    name: str
    file: str
    source: str
    law: str = "isoflop"
    columns: Mapping[str, str] = {}
    keep: Callable[[Row], bool] = lambda row: True
    published: Mapping[str, float] = {}


def of_gadre(row: Row) -> bool:
    """The five runs that the law was fitted to in the paper."""
    width = row["model"].removeprefix("d=").partition("_")[0]
    return (width, row["token_multiplier"]) in FIVE_RUNS


def of_clark(row: Row) -> bool:
    """S-Base routing of one expert a token in every second layer."""
    plain = (row["k"], row["flop_increase"], row["routing_frequency"]) == ("1", "1", "0.5")
    return row["router_type"] == "S-Base" and plain


def of_besiroglu(row: Row) -> bool:
    """240 of the 245 points: their refit leaves out the five highest losses."""
    return float(row["loss"]) < 3.44


def where(**values: str) -> Callable[[Row], bool]:
    """Rows with these values."""
    return lambda row: all(row[name] == value for name, value in values.items())


PLANTED = {"E": 1.8, "A": 450.0, "B": 1800.0, "alpha": 0.35, "beta": 0.36}
EPOCH = {
    "E": 1.8169,
    "A": 482.01,
    "B": 2085.43,
    "alpha": 0.3478,
    "beta": 0.3658,
    "a, approach 3": 0.513,
}
GADRE = {"E": 1.84, "a": 212.0, "b": 367.0, "eta": 0.136}
CLARK = {"a": -0.082, "b": -0.108, "c": 0.009, "d": 1.104, "E_start": 1.847, "E_max": 314.478}
PORIAN, PORIAN_FILE = "2406.19146", "porian_rw_3configs.csv"
ROUTED = {
    "active_params": "dense_parameter_count",
    "params": "total_parameter_count",
    "loss": "loss_validation",
}

CASES = (
    Case("exact surface", "synth_v1.csv", "planted", published=PLANTED),
    Case("noise .4 %, two outliers", "synth_v2.csv", "planted", published=PLANTED),
    Case(
        "Chinchilla's points",
        "svg_extracted_data.csv",
        "2404.10102",
        keep=of_besiroglu,
        published=EPOCH,
    ),
    Case(
        "over-training, five runs",
        "gadre_rpj_train.csv",
        "2403.08540",
        "over_training",
        {"loss": "loss_c4_val"},
        of_gadre,
        GADRE,
    ),
    Case(
        "routed experts, S-Base",
        "routing_final.csv",
        "2202.01169",
        "routing",
        ROUTED,
        of_clark,
        CLARK,
    ),
    Case("isoFLOP like Kaplan's", PORIAN_FILE, PORIAN, keep=where(hparams="base", warmup="long")),
    Case(
        "the same, head counted, short warm-up",
        PORIAN_FILE,
        PORIAN,
        keep=where(hparams="base", warmup="short"),
    ),
    Case(
        "the same, tuned",
        PORIAN_FILE,
        PORIAN,
        keep=where(hparams="tuned"),
        published={"a, approach 2": 0.497},
    ),
    Case("OLMo's ladder", "olmo_ladder_upto1B.csv", "2412.04403", columns={"loss": "c4_en_loss"}),
    Case(
        "OLMo's ladder, HellaSwag by its loss",
        "olmo_ladder_upto1B.csv",
        "2412.04403",
        "accuracy_sigmoid",
        {"loss": "hellaswag_bpb:bits/byte", "accuracy": "hellaswag_acc"},
    ),
    *(
        Case(
            f"{family}, HellaSwag by compute",
            "obsscaling_base_llm.csv",
            "2405.10938",
            "accuracy_compute",
            {"flops": "FLOPs (1E21):1e21", "accuracy": "HellaSwag"},
            where(**{"Model Family": family}),
        )
        for family in ("Pythia", "OPT", "Cerebras-GPT", "Qwen1.5")
    ),
)


def fitted(case: Case, folder: Path, resamples: int = 300) -> dict[str, Estimate]:
    """The estimates of a case, by name: of isoFLOP tables the exponents a of both approaches and
    the surface, of other laws their parameters.
    """
    with (folder / case.file).open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if case.keep(row)]
    law = lm_lab.fit(rows, case.law, columns=case.columns, resamples=resamples)
    if not isinstance(law, Law):
        return {each.name: each.estimate for each in law.fitted.parameters}
    found = {f"a, {each.method}": each.exponent_params for each in law.analysis.frontiers}
    surface = law.analysis.surface
    return found | ({} if surface is None else {name: vars(surface)[name] for name in SURFACE})


def lines(case: Case, found: Mapping[str, Estimate]) -> list[str]:
    """A line of the table a parameter: those with a published figure, or all."""
    names = [*case.published] or [name for name in found if name not in ("A", "B")]
    return [
        f"| {case.name} | {name} | {formatting.estimate(found[name])} | "
        f"{case.published.get(name, '')} | {case.source} |"
        for name in names
    ]


def main() -> None:
    """Prints the table of all cases whose file is there."""
    folder = Path(published.file("scaling"))
    print("| table | parameter | ours | published | source |\n| --- | --- | --- | --- | --- |")
    for case in CASES:
        if (folder / case.file).is_file():
            print("\n".join(lines(case, fitted(case, folder))), flush=True)
        else:
            print(f"{case.name}: no {folder / case.file}", file=sys.stderr)


if __name__ == "__main__":
    main()
