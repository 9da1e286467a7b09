"""TensorBoard's event files through tensorboardX, without the PyTorch that it imports wherever there is one."""

import sys
from typing import Any

_HIDE = "torch" not in sys.modules
if _HIDE:
    sys.modules["torch"] = None  # type: ignore[assignment]  # as if it were not installed
try:
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto import event_pb2, summary_pb2
finally:
    if _HIDE:
        del sys.modules["torch"]

__all__ = ["Event", "EventsWriter", "SessionLog", "Summary"]
_events: Any = event_pb2
_summaries: Any = summary_pb2
Event, SessionLog, Summary = _events.Event, _events.SessionLog, _summaries.Summary
