"""The audit log: one record per request, of who asked, what was decided and why. OWASP Logging; ASVS 5.0 V16.

Read ``middleware`` first (what is recorded when), then ``record`` (what a record says), ``writer`` (how it gets out
without anyone waiting) and ``sinks`` (where to).
"""

from .middleware import AuditMiddleware as AuditMiddleware
from .sinks import JSONLinesSink as JSONLinesSink
from .sinks import LoggingSink as LoggingSink
from .sinks import StdoutSink as StdoutSink
