"""Waiting for an image that the service makes in its own time: a look every 10 s."""

from pathlib import Path

import attrs

from sd3async.call import Options
from sd3async.endpoints import POLL_SECONDS
from sd3async.errors import APIError, ContentModerationError, NotEnoughTimeError, SD3Error
from sd3async.exchange import Fetch, OnWhole
from sd3async.models.fields import refuse
from sd3async.models.results import GeneratedImage, PendingImage
from sd3async.session import Session

_NOT_THIS_KEY = (401, 402, 404)
"""What a key is answered that has not started an image, and one that has been withdrawn."""


class Waiting:
    """The wait for one image.

    Args:
        session: Keys, limiter, connections.
        options: Those of the user.
        user: Whoever waits.
        pending: What was started.
        deadline: How long the wait may take [s]; None is for ever.

    Raises:
        InvalidRequestError: It was started with another key or at another service.
    """

    def __init__(
        self,
        session: Session,
        options: Options,
        *,
        user: object,
        pending: PendingImage,
        deadline: float | None,
    ) -> None:
        here = session.service.base_url
        if pending.service not in ("", here):
            raise refuse(
                "pending", f"was started at {pending.service}, and this client is of {here}"
            )
        self._keys = session.places_of(pending.key)
        if not self._keys:
            raise refuse("pending", "was started with another key than this client's")
        self._session = session
        self._options = options
        self._user = user
        self._pending = pending
        self._deadline = deadline
        self._clock = session.clock
        self._began = self._clock.monotonic()

    async def image(
        self, *, path: Path | None, on_whole: OnWhole | None, accept: str
    ) -> GeneratedImage:
        """Return the image when it is ready.

        Args:
            path: As for `Fetch`.
            on_whole: As for `Fetch`.
            accept: As for `Fetch`.
        """
        try:
            await self._pause(self._until_first_look())
            while True:
                found = await self._look(path=path, on_whole=on_whole, accept=accept)
                if found is not None:
                    total = self._clock.monotonic() - self._began
                    return attrs.evolve(found, timings=attrs.evolve(found.timings, total=total))
                await self._pause(POLL_SECONDS)
        except BaseException as error:
            # Whoever cancels may want it later, too.
            vars(error)["pending"] = self._pending
            if isinstance(error, SD3Error) and not isinstance(error, ContentModerationError):
                error.may_be_charged = True  # for it had been started
            raise

    async def _look(
        self, *, path: Path | None, on_whole: OnWhole | None, accept: str
    ) -> GeneratedImage | None:
        """Look once with each key that may have started it."""
        *others, last = self._keys
        for key in (*others, last):
            fetch = Fetch(
                self._pending,
                key=key,
                path=path,
                on_whole=on_whole,
                accept=accept,
                max_bytes=self._options.max_image_bytes,
            )
            try:
                image = await self._session.call(
                    fetch, self._options, user=self._user, deadline=self._left()
                )
            except APIError as error:
                if error.status not in _NOT_THIS_KEY or key == last:
                    raise
            else:
                self._keys = [key]
                return image
        raise AssertionError("the last key finds it or raises")

    def _until_first_look(self) -> float:
        since = self._clock.time() - self._pending.started_at
        return POLL_SECONDS - since if 0 <= since < POLL_SECONDS else 0.0

    def _left(self) -> float | None:
        if self._deadline is None:
            return None
        return self._deadline - (self._clock.monotonic() - self._began)

    async def _pause(self, seconds: float) -> None:
        left = self._left()
        if left is not None and seconds >= left:
            raise NotEnoughTimeError(
                f"the image is not ready, and the next look in {seconds:.1f} s passes the deadline "
                f"of {self._deadline:g} s; client.result(error.pending) fetches it later",
                wait=seconds,
            )
        if seconds > 0:
            await self._session.pause(seconds, user=self._user)
