"""The logs of the process as they would be written, and everything as before afterwards."""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from chatserver import logs


@contextmanager
def captured_logs(level: logs.Level = "info", log_format: logs.Format = "json") -> Iterator[io.StringIO]:
    root = logging.getLogger()
    names = ("", *logging.Logger.manager.loggerDict)
    before = {name: (logging.getLogger(name).level, logging.getLogger(name).propagate) for name in names}
    handlers = root.handlers[:]
    stream = io.StringIO()
    logs.configure(level, log_format, stream)
    try:
        yield stream
    finally:
        logging.captureWarnings(False)
        structlog.reset_defaults()
        root.handlers[:] = handlers
        for name, (old_level, propagate) in before.items():
            logging.getLogger(name).setLevel(old_level)
            logging.getLogger(name).propagate = propagate
