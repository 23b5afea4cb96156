"""The defaults against rate limiters that nobody here wrote. First by name: it takes longest."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE

from support.proxies import Proxy, haproxy, nginx
from support.servers import emulator_process

KEY = "sk-test0123456789abcdef"

PROGRAM = """
import asyncio
from sd3async import SD3Client, gather_generations

async def main():
    async with SD3Client() as client:
        outcomes = await gather_generations(client, [f"study {n}" for n in range(450)])
        print(sum(outcome.ok for outcome in outcomes), "images,", client.freezes, "freezes")

asyncio.run(main())
"""

NGINX_ZONE = "limit_req_zone $http_authorization zone=keys:1m rate=15r/s;"
NGINX_LIMIT = "limit_req zone=keys burst=149 nodelay; limit_req_status 429;"
HAPROXY_LIMIT = """
    stick-table type string len 64 size 1k expire 60s store http_req_rate(10s),gpt0
    http-request track-sc0 req.hdr(authorization)
    http-request sc-set-gpt0(0) 1 if { sc_http_req_rate(0) gt 150 }
    http-request deny deny_status 429 if { sc_get_gpt0(0) gt 0 }
"""  # whoever is refused once stays out for 60 s


async def _run_program(proxy: Proxy, starts_in: float) -> str:
    """Run a user's program against a proxy; return what it prints.

    It starts later than others, so that their opening bursts do not share the machine.
    """
    await asyncio.sleep(starts_in)
    settings = {"STABILITY_API_KEY": KEY, "STABILITY_BASE_URL": proxy.url}
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, env=os.environ | settings, stdout=PIPE
    )
    try:
        said, _ = await program.communicate()
    finally:
        if program.returncode is None:
            program.kill()
    return said.decode().strip()


async def test_450_prompts_of_a_new_program_meet_no_429_at_nginx_nor_haproxy() -> None:
    """The defaults must suit real limiters, from the first instant of a cold start."""
    with (
        emulator_process("--limit", "none", "--latency", "1", "--image-bytes", "3000") as url,
        nginx(url, NGINX_LIMIT, http=NGINX_ZONE) as at_nginx,
        haproxy(url, HAPROXY_LIMIT) as at_haproxy,
    ):
        said = await asyncio.gather(_run_program(at_nginx, 0), _run_program(at_haproxy, 3))

        assert await at_nginx.statuses(450) == {200: 450}
        assert await at_haproxy.statuses(450) == {200: 450}
    assert list(said) == ["450 images, 0 freezes"] * 2
