"""TensorBoard's event files through tensorboardX, without the PyTorch that it imports wherever there is one."""

import sys

_HIDE = "torch" not in sys.modules
if _HIDE:
    sys.modules["torch"] = None  # type: ignore[assignment]  # as if it were not installed
try:
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]
    from tensorboardX.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]
finally:
    if _HIDE:
        del sys.modules["torch"]

__all__ = ["Event", "EventsWriter", "SessionLog", "Summary"]
