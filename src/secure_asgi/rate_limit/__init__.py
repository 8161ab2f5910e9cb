"""Rate limits. The story is in ``middleware``; ``sliding_window`` counts, ``keys`` says who, ``fields`` tells them."""

from .keys import KeyFunction as KeyFunction
from .middleware import RateLimitMiddleware as RateLimitMiddleware
