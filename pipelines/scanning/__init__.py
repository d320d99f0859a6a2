"""What a training output holds, and what in it who decides should know; learnt as it streams by."""

from pipelines.scanning.scanner import Scanner, scanner_name

__all__ = ["Scanner", "scanner_name"]
