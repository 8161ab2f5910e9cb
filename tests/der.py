"""DER taken apart and put together again, to make what no builder makes."""


def element(tag: int, content: bytes) -> bytes:
    length = len(content)
    long = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag]) + (bytes([length]) if length < 128 else bytes([0x80 | len(long)]) + long) + content


def elements(content: bytes) -> list[bytes]:
    """The elements that follow one another in ``content``."""
    found = []
    while content:
        length, begin = content[1], 2
        if length & 0x80:
            begin += length & 0x7F
            length = int.from_bytes(content[2:begin], "big")
        found.append(content[: begin + length])
        content = content[begin + length :]
    return found


def inside(whole: bytes) -> bytes:
    """The content of one element."""
    return whole[2 + (whole[1] & 0x7F if whole[1] & 0x80 else 0) :]
