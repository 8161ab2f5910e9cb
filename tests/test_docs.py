"""Every Python block of the documentation is run, in an interpreter of its own, and every link leads somewhere."""

import re
import ssl
from inspect import signature
from pathlib import Path

import httpx
import pytest
from examples import mutual_tls

from secure_asgi import (
    OCSP,
    Adaptive,
    APIKeyMiddleware,
    AuthorizationMiddleware,
    Ban,
    BearerAuthMiddleware,
    CRLs,
    DecisionPoint,
    ForwardedCertificate,
    LimitRule,
    MutualTLSMiddleware,
    PinnedTransport,
    RateLimitMiddleware,
    Reason,
    Rule,
    ThrottleMiddleware,
    Tier,
    TrustedProxyMiddleware,
    verify_certificate,
)
from secure_asgi.cli import main
from secure_asgi.mutual_tls.fields import CERTIFICATE_FIELDS
from secure_asgi.testing.certificates import CertificateAuthority
from secure_asgi.tls import server_context

from .paths import ROOT, run_python
from .serving import uvicorn_serving

REFERENCE = ROOT / "docs" / "reference"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCKS = [
    pytest.param(block.group(1), id=f"{page.relative_to(ROOT)}:{page.read_text()[: block.start()].count(chr(10)) + 2}")
    for page in PAGES
    for block in BLOCK.finditer(page.read_text())
]


@pytest.mark.parametrize("block", BLOCKS)
def test_block_runs(block, tmp_path):
    run_python("-W", "error", "-c", block, cwd=tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target, place in links(page):
        aim = page.parent / target if target else page
        assert aim.exists(), f"{page.name} links to {target}"
        assert not place or place in headings(aim), f"{page.name} links to {target}#{place}"


def test_the_index_links_to_every_page_once():
    index = ROOT / "docs" / "README.md"
    linked = [(index.parent / target).resolve() for target, _ in links(index)]
    assert sorted(linked) == sorted(page.resolve() for page in PAGES if page != index)


OPTIONS = {
    MutualTLSMiddleware: "mutual_tls",
    ForwardedCertificate: "forwarded_certificates",
    verify_certificate: "certificate_verification",
    CRLs: "revocation",
    OCSP: "revocation",
    server_context: "tls",
    PinnedTransport: "pinning",
    BearerAuthMiddleware: "bearer",
    RateLimitMiddleware: "rate_limit",
    LimitRule: "rate_limit",
    Tier: "rate_limit",
    Ban: "rate_limit",
    ThrottleMiddleware: "throttle",
    Adaptive: "throttle",
    TrustedProxyMiddleware: "trusted_proxy",
    APIKeyMiddleware: "api_keys",
    AuthorizationMiddleware: "authorization",
    Rule: "authorization",
    DecisionPoint: "decision_point",
}


@pytest.mark.parametrize(("target", "page"), OPTIONS.items(), ids=[target.__name__ for target in OPTIONS])
def test_every_option_is_on_its_page(target, page):
    code = re.findall(r"`([^`\n]+)`", (REFERENCE / f"{page}.md").read_text())
    words = set(re.findall(r"\w+", " ".join(code)))
    assert set(signature(target).parameters) - {"app"} <= words


def test_every_reason_and_every_field_that_is_removed_is_on_a_page():
    pages = "".join(page.read_text() for page in REFERENCE.glob("*.md"))
    assert [reason for reason in Reason if f"`{reason}`" not in pages] == []
    page = (REFERENCE / "mutual_tls.md").read_text()
    assert [field for field in CERTIFICATE_FIELDS if f"`{field.decode()}*`" not in page] == []


def test_the_readmes_commands_are_what_ci_runs():
    """And CI fails if one of them does."""
    commands = re.findall(r"^```sh\n(.*?)\n```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert commands == ["make demo", "make test"]
    script = (ROOT / ".ci" / "run").read_text().splitlines()
    assert all(any(line.startswith(command) for line in script) for command in commands)


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.stem)
def test_example_answers(example, tmp_path):
    """Each is imported as a server would import it, and asked once."""
    code = (
        "import sys, tests.asgi as asgi, examples.{0} as example; "
        "answer = asgi.http(example.app, '/'); print(answer.status, answer.error)"
    )
    assert run_python("-W", "error", "-c", code.format(example.stem), cwd=tmp_path) == ANSWERS.get(
        example.stem, "200 None"
    )


ANSWERS = {
    "minimal": "401 None",
    "resource_server": "401 None",
    "mutual_tls": "403 None",
    "behind_nginx": "403 None",
    "api_keys": "401 None",
    "authorization": "403 None",
    "own_orders": "401 None",
    "payments": "401 None",
    "service_to_service": "403 None",
    "tenants": "401 None",
}


def test_the_mutual_tls_example_lets_its_client_in(tmp_path, monkeypatch):
    """As its first lines say, on a real socket."""
    monkeypatch.chdir(tmp_path)
    assert main(["certs", "dev", "--client", "billing.clients.example.com"]) == 0
    authority = CertificateAuthority.load(mutual_tls.AUTHORITY, "certs/ca.key")
    Path(mutual_tls.LISTS).write_bytes(authority.revocation_list())
    with uvicorn_serving(mutual_tls.app, tls=mutual_tls.context(None, None)) as port:
        client = ssl.create_default_context(cafile=mutual_tls.AUTHORITY)
        url = f"https://localhost:{port}/"
        assert httpx.get(url, verify=client, trust_env=False).status_code == 403
        client.load_cert_chain("certs/billing.clients.example.com.pem", "certs/billing.clients.example.com.key")
        answer = httpx.get(url, verify=client, trust_env=False)
        assert (answer.status_code, answer.json()) == (200, {"subject": "billing.clients.example.com"})


def links(page):
    """Targets within the documentation, each with the heading it names, if any."""
    found = re.findall(r"\]\(([^)#\s]*)(?:#([^)]*))?\)", page.read_text())
    return [(target, place) for target, place in found if "://" not in target and not target.startswith("mailto:")]


def headings(page):
    """As the places that links name, the way GitHub writes them."""
    lines = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line).lower().replace(" ", "-") for line in lines}
