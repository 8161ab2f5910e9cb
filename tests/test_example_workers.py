"""The example of rate limits behind nginx, as its README says: real nginx, four workers of uvicorn, a real Redis."""

import asyncio
import contextlib
import json
import re
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass

import httpx
import pytest

from secure_asgi.testing.certificates import CertificateAuthority

from .handshake import client_context
from .paths import ENVIRONMENT, ROOT
from .proxies import HOST, Proxy, moved, running
from .redis_server import RedisServer, running_redis
from .serving import in_its_own_process

EXAMPLE = ROOT / "examples" / "rate_limits_behind_nginx"
NGINX = (EXAMPLE / "nginx.conf").read_text()
COMMAND, SHOW, RESET = re.findall(
    r"^(?:RATE_LIMIT_STORAGE=\S+ )?((?:uvicorn|secure-asgi) .+)$", (EXAMPLE / "README.md").read_text(), re.MULTILINE
)

LIMIT = 100
TIMES = 200
"""Requests of each client, all under way at once: two clients make 400."""


@dataclass
class Deployment:
    proxy: Proxy
    redis: RedisServer
    environment: dict[str, str]

    def ask(self, *requests: tuple[str, int, dict[str, str]]) -> dict[str, list[httpx.Response]]:
        """``requests`` are a source address, how often it asks, and its fields: all of them at once."""
        return asyncio.run(self._ask_at_once(requests))

    async def _ask_at_once(self, requests) -> dict[str, list[httpx.Response]]:
        async with contextlib.AsyncExitStack() as stack:
            asked = {}
            for source, times, fields in requests:
                client = await stack.enter_async_context(self._client(source))
                asked[source] = [self._get(client, fields) for _ in range(times)]
            answers = iter(await asyncio.gather(*(one for several in asked.values() for one in several)))
            return {source: [next(answers) for _ in several] for source, several in asked.items()}

    def _client(self, source: str) -> httpx.AsyncClient:
        transport = httpx.AsyncHTTPTransport(
            verify=client_context(self.proxy.certificates, None),
            local_address=source,
            limits=httpx.Limits(max_connections=50),  # nginx has 512 for all, and needs two for each request
        )
        return httpx.AsyncClient(transport=transport, timeout=60, trust_env=False)

    async def _get(self, client: httpx.AsyncClient, fields: dict[str, str]) -> httpx.Response:
        url = f"https://127.0.0.1:{self.proxy.port}/"
        return await client.get(url, headers={"host": HOST} | fields, extensions={"sni_hostname": HOST})


@pytest.fixture(scope="module")
def deployment(tmp_path_factory):
    folder = tmp_path_factory.mktemp("limits")
    certificates = folder / "certificates"
    certificates.mkdir()
    authority = CertificateAuthority("Servers CA")
    (certificates / "ca.pem").write_bytes(authority.certificate_pem)
    authority.issue(f"dns:{HOST}", usage="server").write(certificates / "server.pem", certificates / "server.key")
    (folder / "run" / "orders").mkdir(parents=True)
    command = [sys.executable, "-m", *moved(COMMAND, folder, 0, ":0").split()]
    with (
        running_redis(folder) as redis,
        running(
            "nginx", [(NGINX.split(maxsplit=2)[1], NGINX)], folder=folder, certificates=certificates, upstream=":0"
        ) as proxy,
    ):
        environment = {**ENVIRONMENT, "RATE_LIMIT_STORAGE": redis.url}
        with in_its_own_process(command, folder=EXAMPLE, log=folder / "uvicorn.log", environment=environment):
            made = Deployment(proxy, redis, environment)
            _wait_for_workers(made, folder / "uvicorn.log")
            yield made


def _wait_for_workers(deployment, log):
    """Until two have answered somebody whom no test counts: nginx says 502 before that."""
    deadline = time.monotonic() + 60
    while len(workers(deployment.ask(("127.0.0.9", 4, {}))["127.0.0.9"])) < 2:
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(1)


def statuses(answers):
    return Counter(answer.status_code for answer in answers)


def workers(answers):
    return {answer.json()["worker"] for answer in answers if answer.status_code == 200}


def test_exactly_the_limit_whoever_answers(deployment):
    """Two clients at once: neither takes the other's, and no worker admits for itself."""
    answers = deployment.ask(("127.0.0.1", TIMES, {}), ("127.0.0.2", TIMES, {}))
    for source, of_one in answers.items():
        assert statuses(of_one) == {200: LIMIT, 429: TIMES - LIMIT}
        assert {answer.json()["address"] for answer in of_one if answer.status_code == 200} == {source}
        assert all("retry-after" in answer.headers for answer in of_one if answer.status_code == 429)
    assert len(workers(answer for of_one in answers.values() for answer in of_one)) > 1


def test_a_forged_address_gains_nothing(deployment):
    """RL-15: X-Forwarded-For of one's own, another in each request."""
    source = "127.0.0.3"
    assert statuses(deployment.ask((source, LIMIT, {}))[source]) == {200: LIMIT}
    for forged in ("203.0.113.5", "127.0.0.1, 203.0.113.6", "unknown"):
        fields = {"x-forwarded-for": forged, "x-real-ip": forged, "forwarded": f'for="{forged}"'}
        assert statuses(deployment.ask((source, 4, fields))[source]) == {429: 4}


def test_an_operator_sees_it_and_resets_it(deployment):
    """The README's other commands, for one who has used up the limit."""
    source = "127.0.0.4"
    deployment.ask((source, LIMIT, {}))
    show, reset = (command.replace("203.0.113.9", source).split()[1:] for command in (SHOW, RESET))
    before = _operate(deployment, *show, "--json")
    assert before["asked"][0]["limits"][0]["free"] == 0
    assert _operate(deployment, *reset, "--json")["deleted"] == 1
    assert statuses(deployment.ask((source, LIMIT + 1, {}))[source]) == {200: LIMIT, 429: 1}


def _operate(deployment, *arguments):
    code = "import sys; from secure_asgi.cli import main; main(sys.argv[1:])"
    shown = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=EXAMPLE,
        env=deployment.environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return json.loads(shown.stdout)["layers"][0]


def test_without_redis_nobody_is_answered_500(deployment):
    """The last test: each worker counts alone, a quarter of the limit."""
    source = "127.0.0.5"
    deployment.redis.kill()
    # More than twice the limit: in memory a window may end meanwhile.
    answered = statuses(deployment.ask((source, 2 * LIMIT + 50, {}))[source])
    assert answered.keys() == {200, 429}
    assert answered[200] >= LIMIT // 4
