"""Hooks into ASGI servers, one module a server: what an application needs to know of its connection."""
