"""How many requests run at once: a bounded number of slots, a fair queue before them, and who goes first."""

from .adaptive import Adaptive as Adaptive
from .middleware import Load as Load
from .middleware import ThrottleMiddleware as ThrottleMiddleware
