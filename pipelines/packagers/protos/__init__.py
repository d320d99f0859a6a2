"""The protobuf messages that models and their servers are described in, as far as they are needed here.

Each format's own generated code would bring its whole framework along. What is needed of it is a handful of messages,
which are written down as text and made into classes when they are first used.
"""
