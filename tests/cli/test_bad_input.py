"""Every mistake of a user: exit code 2, one line on stderr with the key or path and the remedy,
nothing touched.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lm_lab import config as configs
from lm_lab.cli.main import main
from lm_lab.runs.locks import Lock
from lm_lab.train import identity
from lm_lab.train.task import bind
from tests.cli import cli_helpers

NOISE = ("Reading text", "Tokenizing", "Checking tokens")

Refusal = Callable[..., str]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of the user: tiny.py, a run, a sweep and other folders, which must not
    change.
    """
    monkeypatch.chdir(tmp_path)
    Path("tiny.py").write_text(cli_helpers.CONFIG)
    for name in ("run", "sweep", "empty"):
        Path(name).mkdir()
    resolved = bind(*configs.resolve(configs.load("tiny.py"))).values
    identity.write(Path("run"), resolved, identity.claim(Path("run"), resolved))
    Path("run/metrics.jsonl").write_text('{"step": 10, "train/nll": 3.0}\n')
    Path("sweep/sweep.json").write_text(
        json.dumps({"name": "other", "runs": [], "created": "then"})
    )
    Path("file").write_text("hello")
    return tmp_path


@pytest.fixture
def refusal(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Refusal:
    """Runs lm-lab WORDS, which must refuse; returns its error line."""

    def refuse(*words: str) -> str:
        before = cli_helpers.stored(place)
        monkeypatch.setattr("sys.argv", ["lm-lab", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        out, error = capsys.readouterr()
        lines = [line for line in error.splitlines() if not line.startswith(NOISE)]
        assert (ended.value.code, out, len(lines)) == (2, "", 1), error
        assert cli_helpers.stored(place) == before
        assert not Path("new").exists()
        return lines[0].removeprefix("lm-lab: ")

    return refuse


KEYS = {
    "--config.modle.depth=4": "config.modle does not exist; did you mean 'model'",
    "--config.model.dept=4": "config.model.dept does not exist; did you mean 'depth'",
    "--config.model.a.b=4": "config.model.a does not exist; known:",
    "--config.model.__class__=1": "a config has a key that does not exist: '__class__ cannot be",
    "--config.model={'a.b': "
    "1}": "a config has a key that does not exist: ConfigDict does not accept dots",
    "--config.seed.x=4": "config.seed must be a whole number",
    "--config.sede=4": "did you mean 'seed'",
    "--config.model=4": "config.model must be a section",
    "--config.model.depth=deep": "config.model.depth must be a whole number, not 'deep'",
    "--config.model.depth=1.5": "config.model.depth must be a whole number, not 1.5",
    "--config.model.depth=-1": "config.model.depth must be at least 1, not -1",
    "--config.model.depth": "config.model.depth must be a whole number, not True",
    "--config.model.depth=": "config.model.depth must be a whole number, not ''",
    "--config.model.vocab={'a': 1}": "config.model.vocab must be a whole number or None",
    "--config.model.vocab={[]: 1}": "config.model.vocab must be a whole number or None",
    "--config.model.heads=3": "width 16 is not divisible by heads 3; choose a multiple",
    "--config.model.vocab=100": "config.model.vocab 100 is below the data's 257; raise it",
    "--config.model.family=decodr": "config.model.family: no models named 'decodr'; did you "
    "mean 'decoder'",
    "--config.model.family=my.models": "put its package on PYTHONPATH",
    "--config.model.family=os.path": "has no FAMILY = Family(...); write it like those of lm_lab",
    "--config.model.family=.decoder": "config.model.family: cannot import '.decoder'",
    "--config.model.positions=rotarry": "no option named 'rotarry'; did you mean 'rotary'",
    "--config.optimizer.peak_rate=inf": "config.optimizer.peak_rate must be a number",
    "--config.optimizer.peak_rate=1e999": "config.optimizer.peak_rate must be finite",
    "--config.schedule.warmup_steps=61": "config.schedule.warmup_steps 61 exceeds the run's "
    "60 steps",
    "--config.train.tokens=64": "give one of steps, tokens, budget_flops, not steps and tokens",
    "--config.train.steps=None": "give one of steps, tokens, budget_flops, not none",
    "--config.train.steps=3_000_000_000": "config.train asks for 3e+09 steps",
    "--config.train.microbatches=3": "batch_size 4 is not divisible by microbatches 3",
    "--config.train.batch_size=4000": "lower config.data.length or config.train.batch_size, or "
    "give more text",
    "--config.data.length=100000": "lower config.data.length or config.train.batch_size, or "
    "give more text",
    "--config.model.depth=1000000": "config.model.depth must be at most 16384, not 1000000",
    "--config.model.depth=9999": "config.model.depth: 9999 unrolled layers compile for hours; "
    "set config.model.scan",
    "--config.model.width=1_000_000": "the optimizer's state take 1.44e+05 GB, and the memory "
    "at hand is",
    "--config.model.width=100_000_000": "config.model.width must be at most 1048576, not 100000000",
    "--config.model.vocab=1_000_000_000_000": "config.model.vocab must be below 2**31, not 1e+12",
    "--config.model.family=a\0b": "no models named",
    "--config.optimizer.peak_rate=0": "config.optimizer.peak_rate must be above 0.0, not 0.0",
    "--config.optimizer.clip_norm=0": "config.optimizer.clip_norm must be above 0.0, not 0.0",
    "--config.train.initial=a\udcff": "config.train.initial must be text or None, not "
    "'a\\udcff', with NUL or",
    "--config.mesh.tensor=4": "config.mesh.tensor 4 does not divide config.model.heads 2; lower it",
    "--config.data.source=sythetic": "did you mean 'synthetic'",
    "--config.mesh.data=3": "config.mesh: data 3 x fsdp 1 do not divide the 4 rows",
    "--config.mesh.population=2": "config.mesh.population 2 does not divide the 1 runs",
    "--config.mesh.tensor=16": "config.mesh asks for 16 devices",
    "--config.mesh.tensor=100000": "config.mesh asks for 100000 devices",
    "--config.data.source.path=x": "pairs or text, not with synthetic",
    "--wrkdir=x": "Did you mean: workdir",
    "--workdir=x": "flag --workdir=x: already defined as new",
    "--config=tiny.py": "--config is given twice; give it once",
    "stray": "unexpected argument 'stray'; see lm-lab train --help",
}


@pytest.mark.parametrize("word", KEYS)
def test_keys_and_flags(refusal: Refusal, word: str):
    assert KEYS[word] in refusal("train", "--config=tiny.py", "--workdir=new", word)


COMMANDS = {
    "trian": "did you mean 'train'",
    "--workdir=x": "known: check, convert, data, demo, evaluate, fit, forecasts, generate, keys, "
    "merge, plan, query, report, status, sweep, tokenize, train",
    "train": "--config=FILE is missing, as in",
    "train --config": "--config=FILE is missing, as in",
    "train --config --workdir=new": "--config=FILE is missing, as in",
    "train --config=tiny.py": "--workdir=DIR is missing, as in",
    "train --config=tiny.py --workdir=": "--workdir=DIR is missing, as in",
    "train --config=tiny.py --workdir": "Missing value for flag --workdir",
    "train --config=tiny.py --workdir=new --config.seed=1 "
    "--config.seed=1": "--config.seed is given twice",
    "train --config=tiny.py --workdir=new --config.model.heads "
    "3": "width 16 is not divisible by heads 3",
    "train --config=tiny.py --workdir=new --config.train.steps=None "
    "--config.train.budget_flops=9": "is below",
    "train --config=tiy.py --workdir=new": "no Python file 'tiy.py'; did you mean 'tiny.py'",
    "train --config=empty --workdir=new": "no Python file 'empty'",
    "train --config=file --workdir=new": "no Python file 'file'",
    "train --config=tiny.py --workdir=~nobody-has-this-name/x": "nobody has that home directory",
    "train --config=tiny.py --workdir=file": "file: cannot write there: File exists",
    "train --config=tiny.py --workdir=file/new": "file/new: cannot write there: Not a directory",
    "train --config=tiny.py --workdir=/proc/new": "/proc/new: cannot write there",
    "train --config=tiny.py --workdir=run "
    "--config.seed=1": "run holds another run: config.seed is 0 there and 1 here",
    "train --config=tiny.py --workdir=run "
    "--config.data.length=8": "run holds another run: config.data.length is",
    "train --config=tiny.py "
    "--workdir=sweep": "sweep holds a sweep, not a run; choose another directory",
    "train --config=tiny.py "
    "--workdir=a\0b": "--workdir='a\\x00b' is no path: it has NUL, or bytes that are no UTF-8",
    "train --config=tiny.py --workdir=a\udcff": "--workdir='a\\udcff' is no path",
    "train --config=pipe.py --workdir=new": "no Python file 'pipe.py'",
    "train --config=tiny.py --workdir=new --config.adapter.name=freeze "
    "--config.adapter.train=()": "nothing would be",
    "train --config=tiny.py --workdir=new --config.adapter.name=lora "
    "--config.adapter.targets=()": "nothing would be",
    "train --config=tiny.py --workdir=new --config.data.tokenizer=hugging_face "
    "--config.data.tokenizer.tokenizer_file=pipe.py": (
        "config.data.tokenizer.tokenizer_file pipe.py: cannot read: it is a pipe or a device, not "
        "a file"
    ),
    "train --config=tiny.py --workdir=new --config.data.source=text "
    "--config.data.source.path=file": "the train text has 4 tokens, 0 windows of 17",
    "train --config=tiny.py --workdir=new --config.data.tokenizer=words "
    "--config.data.vocabulary_file=file": "file: damaged, or not written by lm-lab; name that of",
    "train --config=tiny.py --workdir=new --trust=a --trust=b": "give --trust=PACKAGE,... once",
    "plan --config=tiny.py --utilisation=nan": "--utilisation=nan must be a share of the peak",
    "sweep / --workdir=new": "no study at /; ",
    "plan --config=tiny.py --device=GTX": "--device=GTX: no peak is known of it; known: a100,",
    "plan --config=tiny.py "
    "--config.mesh.tensor=4": "config.mesh.tensor 4 does not divide config.model.heads 2",
    "plan --config=tiny.py --config.model.depth=9999": "9999 unrolled layers compile for hours",
    "plan --config=tiny.py --utilisation=2": "--utilisation=2",
    "plan --config=tiny.py --memory_bytes=80GB": "--memory_bytes=80GB: give a number, as 80e9; see",
    "plan --config=tiny.py --workdir=new": "see lm-lab plan --help",
    "plan study --law=1,2,3": "--law=1,2,3: give five positive numbers, E,A,alpha,B,beta",
    "plan study --noise=0": "--noise=0",
    "plan study tiny": "name one study, not 2",
    "plan stuudy": "no study at stuudy; did you mean 'study'",
    "forecasts": "name sweep directories, or folders of them, as in",
    "forecasts file": "file: no sweep.json here, nor in a folder right below",
    "plan --config=tiny.py --config.mesh.data=3": "do not divide the 4 rows",
    "sweep --workdir=new": "name one study, as in",
    "sweep study.py": "--workdir=DIR is missing, as in",
    "sweep nowhere/study --workdir=new": "the folder nowhere does not exist",
    "sweep stuudy --workdir=new": "no study at stuudy; did you mean 'study'",
    "sweep tiny --workdir=new": "tiny.py has no function study()",
    "sweep study --workdir=new --workers=0": "--workers=0",
    "sweep study --workdir=new --workers=many": "--workers=many",
    "sweep study --workdir=new --executor=lokal": "did you mean 'local'?",
    "sweep study --workdir=new --executor.wokers=2": "executor.wokers does not exist",
    "sweep study --workdir=new --executor.workers=0": "executor.workers must be at least 1",
    "sweep study --workdir=new --config=tiny.py": "see lm-lab sweep --help",
    "sweep study --workdir=run": "run holds a run, not a sweep; use another directory",
    "sweep study --workdir=sweep": "sweep holds study 'other', not 'mine'",
    "sweep study --workdir=file": "file",
    "evaluate --workdir=sweep": "sweep holds a sweep; name one of its runs, below runs/",
    "report": "name one sweep directory, as in",
    "report nowhere": "no sweep.json here; name the directory of a sweep",
    "report empty": "no sweep.json here; name the directory of a sweep",
    "report sweep": "no results.csv here; finish it with lm-lab sweep",
    "report run": "no sweep.json here",
    "members": "name a sweep directory",
    "members sweep 0123": "sweep has no run 0123",
}


@pytest.mark.parametrize("line", COMMANDS)
def test_command_lines(refusal: Refusal, line: str):
    os.mkfifo("pipe.py")
    Path("study.py").write_text(STUDY.format(base=BASE, sweep="[{'seed': 1}]", kind="isoflop"))
    assert COMMANDS[line] in refusal(*line.split())


FILES = {
    "def get_config(:\n": "SyntaxError: invalid syntax (bad.py, line 1)",
    "": "bad.py has no get_config(); define it",
    "get_config = 3": "bad.py fails: TypeError",
    "def get_config():\n    return 1 / 0": "bad.py:2 fails: ZeroDivisionError",
    "import no_such_module": "bad.py:1 fails: ModuleNotFoundError",
    "import sys\nsys.exit(3)": "bad.py:2 fails: SystemExit: 3",
    "def get_config():\n    return {}": "returns a dict, not a ConfigDict",
    "def get_config(text):\n    return text": "missing 1 required positional argument",
    "\xff\xfe": "bad.py fails: SyntaxError",
}


@pytest.mark.parametrize("text", FILES)
def test_config_files(refusal: Refusal, text: str):
    Path("bad.py").write_text(text, encoding="latin-1")
    assert FILES[text] in refusal("train", "--config=bad.py", "--workdir=new")


def test_a_config_with_an_argument_that_it_does_not_take(refusal: Refusal):
    assert "takes 0 positional arguments" in refusal(
        "train", "--config=tiny.py:small", "--workdir=new"
    )


TEXTS = {
    "nowhere/at all": (None, "no file or folder 'nowhere/at all'"),
    "no_match": ("", "no file below 'no_match' ends in .txt"),
    "nothing.txt": (b"", "'nothing.txt' is empty"),
    "latin.txt": (
        b"ab\xff",
        "latin.txt is not UTF-8 (byte 0xff at offset 2); convert it with iconv",
    ),
    "pipes": (
        "pipe",
        "cannot read pipes/a.txt (it is a pipe or a device, not a file); mend that, or leave it "
        "out",
    ),
    "/dev/zero": (None, "no file or folder '/dev/zero'"),
    "one.txt": (b"hello", "lower config.data.length or config.train.batch_size, or give more text"),
}


@pytest.mark.parametrize("path", TEXTS)
def test_texts(refusal: Refusal, path: str):
    content, words = TEXTS[path]
    if content == "":
        Path(path).mkdir()
    elif content == "pipe":
        Path(path).mkdir()
        os.mkfifo(Path(path, "a.txt"))
    elif content is not None:
        Path(path).write_bytes(content)
    synthetic = '{"name": "synthetic", "documents": 64, "document_bytes": 256}'
    Path("text.py").write_text(cli_helpers.CONFIG.replace(synthetic, '"text"'))
    assert words in refusal(
        "train", "--config=text.py", "--workdir=new", f"--config.data.source.path={path}"
    )


SWEEPS = {
    ("sweep.json", '{"name": "ot'): "sweep/sweep.json: no JSON",
    (
        "results.csv",
        "name,status\na,complete",
    ): "sweep/results.csv: cut short; launch lm-lab sweep again",
    ("results.csv", "name,status\nb,complete\n"): "sweep/results.csv: not the runs of sweep.json",
    ("results.csv", "name,status\n\xff\n"): "sweep/results.csv: not a table",
    (
        "results.csv",
        "name,status\na,failed\n",
    ): "none of the 1 runs is complete; finish them with lm-lab sweep",
}


@pytest.mark.parametrize("name, content", SWEEPS)
def test_damaged_records_of_a_sweep(refusal: Refusal, name: str, content: str):
    Path("sweep/runs/a").mkdir(parents=True)
    study = {
        "name": "other",
        "analysis": {"kind": "isoflop"},
        "runs": [{"name": "a", "overrides": {}, "config": {}}],
        "created": "then",
    }
    Path("sweep/sweep.json").write_text(json.dumps(study))
    Path("sweep/results.csv").write_text("name,status\na,complete\n")
    Path("sweep", name).write_text(content, encoding="latin-1")
    assert SWEEPS[name, content] in refusal("report", "sweep")


def test_a_run_in_use(refusal: Refusal):
    Path("run/checkpoints").mkdir()
    with Lock(Path("run/checkpoints/lock")):
        message = refusal("train", "--config=tiny.py", "--workdir=run")
    assert "run/checkpoints is in use by pid" in message
    assert "choose another directory" in message


def test_a_sweep_in_use(refusal: Refusal):
    Path("study.py").write_text(STUDY.format(base=BASE, sweep="[{'seed': 1}]", kind="isoflop"))
    Path("busy").mkdir()
    with Lock(Path("busy/lock")):
        assert "busy is in use by pid" in refusal("sweep", "study", "--workdir=busy")


BASE = "configs.load('tiny.py')"
STUDY = """
import sys
from lm_lab import config as configs
from lm_lab.sweeps.study import Study

def study():
    return Study("mine", "Is it refused?", {base}, {sweep}, {{"kind": {kind!r}}})
"""

STUDIES = {
    (
        BASE,
        "[{'modle.depth': 1}]",
    ): "point 1 of 1 (modle.depth=1): config.modle does not exist; did you mean 'model'",
    (
        BASE,
        "[{}, {'model.heads': 3}]",
    ): "point 2 of 2 (model.heads=3): config.model: width 16 is not divisible",
    (BASE, "[{'seed.x': 3}]"): "config.seed must be a whole number",
    (BASE, "[{1: 3}]"): "config.1 does not exist",
    (BASE, "{'seed': 3}"): "its sweep must be a list of dicts",
    (BASE, "['seed']"): "its sweep must be a list of dicts",
    (BASE, "[]"): "its sweep has no points; give at least one",
    (BASE, "1 / 0"): "study.py:7: ZeroDivisionError",
    (BASE, "[{'seed': {1, 2}}]"): "must be plain numbers, text, lists and dicts",
    ("{}", "[{}]"): "Study: base must be a ConfigDict, not {}",
    ("None", "[{}]"): "Study: base must be a ConfigDict, not None",
    ("sys.exit(3)", "[{}]"): "study.py:7: SystemExit: 3",
    (
        BASE,
        "[{'model.depth': 1}, {'model.width': 1e8}]",
    ): "config.model.width must be at most 1048576",
}


@pytest.mark.parametrize("base, sweep", STUDIES)
def test_studies(refusal: Refusal, base: str, sweep: str):
    Path("study.py").write_text(STUDY.format(base=base, sweep=sweep, kind="isoflop"))
    assert STUDIES[base, sweep] in refusal("sweep", "study", "--workdir=new")


def test_a_study_whose_name_is_no_text(refusal: Refusal):
    Path("study.py").write_text(
        STUDY.format(base=BASE, sweep="[{}]", kind="isoflop").replace('"mine"', "None")
    )
    assert "Study: name must be text, not None" in refusal("sweep", "study", "--workdir=new")


ARMS = "{'a': {'model.depth': 1}, 'b': {'model.depth': 2}}"
COMPARISON = f"'kind': 'comparison', 'arms': {ARMS}, 'reference': 'a'"
ANALYSES = {
    COMPARISON: "no two contenders are sure to have runs of one budget; set train.budget_flops",
    f"{COMPARISON}, 'metric': 'eval/heldout/score'": "analysis.better is missing: say whether",
    "'kind': 'isoflop', 'held_out_budget': "
    "1e9": "analysis.held_out_budget 1e+09 is the budget of no run; choose",
}


@pytest.mark.parametrize("analysis", ANALYSES)
def test_an_analysis_that_the_runs_cannot_answer(refusal: Refusal, analysis: str):
    both = "[{'model.depth': 1}, {'model.depth': 2}]"
    if "isoflop" in analysis:
        both = "[{'train.steps': None, 'train.budget_flops': 1e8}]"
    study = STUDY.format(base=BASE, sweep=both, kind="isoflop").replace(
        "'kind': 'isoflop'", analysis
    )
    Path("study.py").write_text(study.replace("\"kind\": 'isoflop'", analysis))
    assert ANALYSES[analysis] in refusal("sweep", "study", "--workdir=new")
