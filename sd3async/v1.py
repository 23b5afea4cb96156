"""`client.v1`: the older API, whose coroutines return lists of images."""

from typing import Protocol, TypeVar

from sd3async.caller import Caller
from sd3async.calls import V1Calls
from sd3async.endpoints import ACCOUNT_PATH, BALANCE_PATH, ENGINES_PATH
from sd3async.exchange import Exchange, Lookup
from sd3async.models.fields import Duration
from sd3async.models.v1 import V1Account, V1Engine
from sd3async.wire import read_account, read_balance, read_engines

T = TypeVar("T")

BALANCE = Lookup("balance", BALANCE_PATH, read_balance)
_ENGINES = Lookup("v1.engines", ENGINES_PATH, read_engines)
_ACCOUNT = Lookup("v1.account", ACCOUNT_PATH, read_account)


class Asker(Protocol):
    """Makes a call of the client."""

    async def __call__(self, exchange: Exchange[T], deadline: Duration | None) -> T:
        """Make it, and return what came of it."""
        ...


class V1(V1Calls):
    """Stable Diffusion XL 1.0 and what v1 tells of engines and accounts: `client.v1`.

    Args:
        client: The client that they send with.
        ask: Makes its calls.
    """

    def __init__(self, client: Caller, ask: Asker) -> None:
        super().__init__(client)
        self._ask = ask

    async def engines(self, *, deadline: Duration | None = None) -> list[V1Engine]:
        """Return the engines that the key may use.

        Args:
            deadline: How long the whole call may take: seconds or a `timedelta`; None is for
                ever.

        Raises:
            APIError: The service answered with an error; gateways often serve no engines.
            UnexpectedResponseError: The answer lists none.
            TransportError: No complete answer arrived.

        Source:
            GET /v1/engines/list.
        """
        return await self._ask(_ENGINES, deadline)

    async def account(self, *, deadline: Duration | None = None) -> V1Account:
        """Return the account that the key belongs to; of a pool, one of the keys.

        Args:
            deadline: As for `engines`.

        Raises:
            SD3Error: As told at `engines`.

        Source:
            GET /v1/user/account.
        """
        return await self._ask(_ACCOUNT, deadline)

    async def balance(self, *, deadline: Duration | None = None) -> float:
        """Return the credits left on the account: the same as `client.balance`.

        Args:
            deadline: As for `engines`.

        Raises:
            SD3Error: As told at `engines`.

        Source:
            GET /v1/user/balance.
        """
        return await self._ask(BALANCE, deadline)
