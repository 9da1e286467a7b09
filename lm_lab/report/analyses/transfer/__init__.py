"""The report of a transfer of rates: what a large model loses by the best rate of a small one."""

from lm_lab.report.analyses.transfer.results import Results, Settings, analyse, check
from lm_lab.report.contract import Analysis
from lm_lab.report.page import Report
from lm_lab.report.stored import Sweep


def report(results: Results, sweep: Sweep) -> Report:
    """The answer."""
    return Report(["-"], [], [])


ANALYSIS = Analysis(Settings, analyse, report, check)
