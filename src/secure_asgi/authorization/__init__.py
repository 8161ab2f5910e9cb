"""Who may do what: one table of rules, first match decides, and what no rule names is refused.

The story, file by file: ``rules`` (what is asked of whom), compiled into ``checks``, with ``roles`` (what a role
holds), ``details`` (RFC 9396) and ``placeholders`` (what the path says) → ``table`` (which rule decides for a path) →
``predicates`` (what only a function knows) and ``decision_point`` (what only another service knows) → ``coverage``
(does the table fit the routes). ``middleware`` is all of it.
"""

from .decision_point import DecisionPoint
from .middleware import AuthorizationMiddleware
from .predicates import Access
from .rules import Rule

__all__ = ["Access", "AuthorizationMiddleware", "DecisionPoint", "Rule"]
