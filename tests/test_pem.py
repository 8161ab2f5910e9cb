"""Files of certificates and keys: what is wrong with one is said in one sentence that names it."""

import ssl

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from secure_asgi import ConfigurationError
from secure_asgi._pem import certificates_in_file, certificates_in_pem, load_authorities, load_own_certificate
from secure_asgi.testing.certificates import CertificateAuthority

from .handshake import locked

SERVER = CertificateAuthority().subordinate().issue("dns:api.example")
DER = SERVER.certificate.public_bytes(Encoding.DER)
OF_VERSION_5 = ssl.DER_cert_to_PEM_cert(DER.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x04", 1)).encode()


def test_all_certificates_of_a_file_in_its_order_and_its_key_is_passed_over(tmp_path):
    (tmp_path / "x.pem").write_bytes(SERVER.key_pem + SERVER.chain_pem + SERVER.authority_pem)
    path = certificates_in_pem(SERVER.chain_pem, "") + certificates_in_pem(SERVER.authority_pem, "")
    assert len(path) == 3
    assert certificates_in_file(str(tmp_path / "x.pem"), "") == path


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "it cannot be read: No such file or directory"),
        (b"", "it holds no readable PEM certificate"),
        (SERVER.key_pem, "it holds no readable PEM certificate"),
        (SERVER.certificate_pem.replace(b"\nMI", b"\nXX"), "it holds no readable PEM certificate"),
        (OF_VERSION_5, "it holds no readable PEM certificate"),
    ],
    ids=["missing", "empty", "a key", "broken", "of an unknown version"],
)
def test_files_without_certificates(content, sentence, tmp_path):
    file = tmp_path / "x.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigurationError) as wrong:
        certificates_in_file(file, "it")
    assert str(wrong.value) == sentence


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "it cannot be read: No such file or directory"),
        (b"junk", "it holds no readable PEM certificate"),
        (SERVER.key_pem, "it holds no readable PEM certificate"),
    ],
    ids=["missing", "junk", "a key"],
)
def test_authorities(content, sentence, tmp_path):
    if content is not None:
        (tmp_path / "x.pem").write_bytes(content)
    with pytest.raises(ConfigurationError) as wrong:
        load_authorities(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), tmp_path / "x.pem", "it")
    assert str(wrong.value) == sentence


PAIR = "cert= is to hold PEM certificates, leaf first, and key= an unencrypted PEM key; OpenSSL says "


@pytest.mark.parametrize(
    ("certificate", "key", "sentence"),
    [
        (None, SERVER.key_pem, "cert= cannot be read: No such file or directory"),
        (SERVER.chain_pem, None, "key= cannot be read: No such file or directory"),
        (SERVER.chain_pem, SERVER.certificate_pem, PAIR + "they are not"),
        (b"junk", SERVER.key_pem, PAIR + "they are not"),
        (SERVER.chain_pem, locked(SERVER.key_pem), PAIR),
        (SERVER.authority_pem, SERVER.key_pem, "key= is not the key of the first certificate in cert="),
    ],
    ids=["no certificate", "no key", "another thing for a key", "junk", "an encrypted key", "the key of another"],
)
def test_a_certificate_and_its_key(certificate, key, sentence, tmp_path):
    """An encrypted key is refused without asking the terminal for its password."""
    for name, content in (("x.pem", certificate), ("x.key", key)):
        if content is not None:
            (tmp_path / name).write_bytes(content)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with pytest.raises(ConfigurationError) as wrong:
        load_own_certificate(context, tmp_path / "x.pem", tmp_path / "x.key", certificate="cert=", key="key=")
    assert str(wrong.value).startswith(sentence)


def test_certificate_and_key_in_one_file(tmp_path):
    (tmp_path / "both.pem").write_bytes(SERVER.chain_pem + SERVER.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_own_certificate(context, tmp_path / "both.pem", None, certificate="", key="")
