"""DER that a parser has accepted before, taken apart without one: parts of a certificate as they stand in it."""

_VERSION = 0xA0
"""The tag of a TBSCertificate's first element, which version 1 leaves out."""


def span(der: bytes, at: int) -> tuple[int, int]:
    """Where the content of the element at that place begins, and where it ends (X.690 section 8.1.3).

    Of one that is cut off, or claims too much, that lies behind the end of ``der``.
    """
    begin, length = at + 2, der[at + 1]
    if length >= 0x80:
        begin += length & 0x7F
        length = int.from_bytes(der[at + 2 : begin])
    return begin, begin + length


def tbs_parts(der: bytes, at: int = 0) -> list[bytes]:
    """Of the TBSCertificate at that place: serial number, algorithm, issuer, validity, subject and key, all in DER.

    Decoded and written anew they may have got other octets.
    """
    at = span(der, at)[0]
    if der[at] == _VERSION:
        at = span(der, at)[1]
    parts = []
    for _ in range(6):
        end = span(der, at)[1]
        parts.append(der[at:end])
        at = end
    return parts
