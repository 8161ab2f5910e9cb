"""Mutual TLS: what the server says of a connection in, a principal or a 403 out (MTLS-1, MTLS-4, CERT-1, CERT-4)."""
