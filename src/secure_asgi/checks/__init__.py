"""What stands around an application, which rule decides about which route, and what is wrong with that.

Nothing is started, connected to or asked: the application is looked at as it stands. ``secure-asgi check`` prints this.
"""

from .report import Finding, LayerRow, Report, RouteRow, check

__all__ = ["Finding", "LayerRow", "Report", "RouteRow", "check"]
