"""TensorBoard's event files, by tensorboardX, which is kept from importing PyTorch."""

import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

_HIDE = "torch" not in sys.modules
if _HIDE:
    sys.modules["torch"] = None  # type: ignore[assignment]  # as if it were not installed
try:
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto import event_pb2, plugin_hparams_pb2, summary_pb2
finally:
    if _HIDE:
        del sys.modules["torch"]

_events: Any = event_pb2
_summaries: Any = summary_pb2
_hyper: Any = plugin_hparams_pb2
Event, SessionLog, Summary = _events.Event, _events.SessionLog, _summaries.Summary


class Events:
    """The event files of a run, written afresh with its `records` so far.

    They begin with the run's `settings`, by dotted key, so that TensorBoard's page of
    hyper-parameters shows those that differ among the runs of a folder, beside their metrics.
    Raises OSError.
    """

    def __init__(
        self, folder: Path, records: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]
    ) -> None:
        folder.mkdir(exist_ok=True)
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink()
        self._writer = EventsWriter(str(folder / "events"))
        with ExitStack() as on_error:
            on_error.callback(self.close)
            self._begin(records, settings)
            on_error.pop_all()

    def _begin(self, records: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> None:
        # Tells a TensorBoard that watches the folder to forget what it read in the old file.
        start = Event(
            wall_time=time.time(), step=0, session_log=SessionLog(status=SessionLog.START)
        )
        self._put([start, _session(settings), *map(_event, records)])

    def write(self, record: Mapping[str, Any]) -> None:
        """Appends a record of metrics.jsonl."""
        self._put([_event(record)])

    def close(self) -> None:
        """Ends the file."""
        self._writer.close()

    def _put(self, events: Sequence[Any]) -> None:
        for event in events:
            self._writer.write_event(event)
        self._writer.flush()


def _session(settings: Mapping[str, Any]) -> Any:
    """The settings as TensorBoard's plugin of hyper-parameters reads them; None is left out."""
    session = _hyper.SessionStartInfo()
    for key, value in settings.items():
        if isinstance(value, bool):
            session.hparams[key].bool_value = value
        elif isinstance(value, int | float):
            session.hparams[key].number_value = value
        elif value is not None:
            text = value if isinstance(value, str) else json.dumps(value)
            session.hparams[key].string_value = text
    content = _hyper.HParamsPluginData(session_start_info=session).SerializeToString()
    plugin = _summaries.SummaryMetadata.PluginData(plugin_name="hparams", content=content)
    metadata = _summaries.SummaryMetadata(plugin_data=plugin)
    value = Summary.Value(tag="_hparams_/session_start_info", metadata=metadata)
    return Event(wall_time=time.time(), step=0, summary=Summary(value=[value]))


def _event(record: Mapping[str, Any]) -> Any:
    values = [
        Summary.Value(tag=name, simple_value=value)
        for name, value in record.items()
        if name != "step" and isinstance(value, (int, float)) and math.isfinite(value)
    ]
    return Event(wall_time=time.time(), step=record["step"], summary=Summary(value=values))
