"""Logs as JSON, one line each, on standard error."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, TextIO


class JsonLog:
    """Writes lines; each in one piece, so that the lines of several processes do not mix."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream

    def __call__(self, level: str, event: str, **fields: object) -> None:
        """Write one line."""
        stream = self._stream or sys.stderr
        stream.write(_line(datetime.now(UTC), level, event, fields))
        stream.flush()


class JsonFormatter(logging.Formatter):
    """The same form for what uvicorn and the libraries log."""

    def format(self, record: logging.LogRecord) -> str:
        """One line without its end."""
        fields: dict[str, object] = {"logger": record.name}
        if record.exc_info:
            fields["error"] = self.formatException(record.exc_info)
        at = datetime.fromtimestamp(record.created, UTC)
        return _line(at, record.levelname.lower(), record.getMessage(), fields).rstrip("\n")


def logging_config() -> dict[str, Any]:
    """What `logging.config.dictConfig` needs for it: warnings and worse."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": "sluice.api.log.JsonFormatter"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stderr"}},
        "root": {"handlers": ["stderr"], "level": "WARNING"},
    }


def _line(at: datetime, level: str, event: str, fields: dict[str, object]) -> str:
    return json.dumps({"time": at.isoformat(timespec="milliseconds"), "level": level, "event": event, **fields}) + "\n"
