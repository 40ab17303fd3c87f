"""GET requests to the exchange: signed, paced, repeated when that is safe, never anything else.

Only GET exists here, so no order can be placed and every request may be repeated. One request:

1. wait for tokens (`TokenBucket`), sign with the corrected time (`Signer`, `ClockSkew`), send;
2. learn the clock offset from the Date header of whatever came back;
3. 2xx with whole JSON is the answer;
4. 429, 5xx, a broken connection and cut-off JSON are tried again after a random wait that doubles;
5. a 401 that names the timestamp, or whose Date header shows that the offset was wrong, is tried
   once more with the new offset; every other status is final.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from quant_engine.core.errors import ConfigError, SchemaMismatchError, SourceUnavailableError
from quant_engine.kalshi.exchange.codec import decode
from quant_engine.kalshi.exchange.environments import API_PATH, Environment
from quant_engine.kalshi.exchange.limits import CAREFUL_LIMIT, RateLimit, TokenBucket
from quant_engine.kalshi.exchange.refusals import (
    Refusal,
    is_retryable,
    read_refusal,
    refusal_error,
)
from quant_engine.kalshi.exchange.signing import Signer, check_home
from quant_engine.kalshi.exchange.skew import ClockSkew
from quant_engine.kalshi.exchange.timing import Timer

__all__ = ["Answer", "Params", "RetryPolicy", "Transport"]

_LOGGER = logging.getLogger(__name__)
_CLEARLY_WRONG_US = 1_000_000
Params = Sequence[tuple[str, str]]
"""Query parameters in order; a key may repeat, because some endpoints want that."""


@dataclass(frozen=True)
class Answer:
    """A whole answer.

    Parameters
    ----------
    path : str
        Below the API's root.
    params : tuple of (str, str)
        Query.
    status : int
        HTTP status, 2xx.
    body : bytes
        As received.
    received_us : int
        Local time of arrival, microseconds UTC.
    value : object
        Parsed JSON.
    """

    path: str
    params: tuple[tuple[str, str], ...]
    status: int
    body: bytes
    received_us: int
    value: Any = field(repr=False, compare=False)


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how long apart a request is repeated.

    Parameters
    ----------
    attempts : int
        Requests in all.
    base_s, cap_s : float
        The wait before repetition k is uniform on ``[0, min(cap_s, base_s * 2**k)]`` (full jitter);
        the exchange gives no Retry-After.

    Raises
    ------
    ConfigError
        When a number is not positive.

    Examples
    --------
    >>> RetryPolicy(base_s=1.0, cap_s=3.0).wait_s(2, 0.5)
    1.5
    """

    attempts: int = 8
    base_s: float = 0.25
    cap_s: float = 10.0

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.base_s <= 0 or self.cap_s <= 0:
            raise ConfigError(
                "retries", wanted="positive numbers", got=self, hint="Use 8 attempts."
            )

    def wait_s(self, repetition: int, draw: float) -> float:
        """Seconds before a repetition (0 is the first), given a uniform draw from [0, 1)."""
        return draw * min(self.cap_s, self.base_s * 2.0**repetition)


class Transport:
    """Reads from one environment of the exchange.

    Parameters
    ----------
    http : httpx.Client
        Connection pool; its time-outs apply. The caller closes it.
    environment : Environment
        Hosts.
    timer : Timer
        Time and waiting.
    jitter : callable
        Returns uniform draws from [0, 1); give a seeded one for reproducible runs.
    signer : Signer, optional
        Key; public endpoints work without.
    retry : RetryPolicy
        Repetitions.
    limit : RateLimit
        Starting limit; see `TokenBucket.update`.

    Raises
    ------
    ConfigError
        When the key is registered in another environment.
    """

    def __init__(
        self,
        http: httpx.Client,
        environment: Environment,
        *,
        timer: Timer,
        jitter: Callable[[], float],
        signer: Signer | None = None,
        retry: RetryPolicy = RetryPolicy(),
        limit: RateLimit = CAREFUL_LIMIT,
    ) -> None:
        if signer is not None:
            check_home(signer, environment.name)
        self.environment = environment
        self.bucket = TokenBucket(limit, timer)
        self.skew = ClockSkew()
        self.counts: Counter[str] = Counter()
        self.listeners: list[Callable[[Answer], None]] = []
        self._http = http
        self._timer = timer
        self._jitter = jitter
        self._signer = signer
        self._retry = retry

    def get(self, path: str, params: Params = ()) -> Answer:
        """Ask for one resource until there is an answer or no hope.

        Parameters
        ----------
        path : str
            Below the API's root, such as ``/markets``.
        params : sequence of (str, str)
            Query.

        Returns
        -------
        Answer
            Whole and parsed.

        Raises
        ------
        ConfigError
            Refused for good: key, clock, filters.
        EmptyDataError
            No such thing.
        SourceUnavailableError
            No usable answer after all attempts.
        """
        last = "nothing"
        resynced = False
        for attempt in range(self._retry.attempts):
            if attempt > 0:
                self._timer.sleep(self._retry.wait_s(attempt - 1, self._jitter()))
                self.counts["repeated"] += 1
            offset_us = self.skew.offset_us
            outcome = self._once(path, tuple(params), offset_us)
            if (
                isinstance(outcome, Refusal)
                and not resynced
                and self._blames_clock(outcome, offset_us)
            ):
                resynced = True
                self.counts["resynchronised"] += 1
                outcome = self._once(path, tuple(params), self.skew.offset_us)
            if isinstance(outcome, Answer):
                for listener in self.listeners:
                    listener(outcome)
                return outcome
            if isinstance(outcome, Refusal):
                if not is_retryable(outcome.status):
                    raise refusal_error(outcome, path, environment=self.environment.name)
                last = f"{outcome.status} {outcome.message}".strip()
            else:
                last = outcome
            _LOGGER.info("%s attempt %d: %s", path, attempt + 1, last)
        raise SourceUnavailableError(
            path,
            wanted=f"an answer of {self.environment.name} in {self._retry.attempts} attempts",
            got=last,
            hint="Try again later; see the exchange's status page.",
        )

    def _blames_clock(self, refusal: Refusal, offset_us: int) -> bool:
        """True for a 401 that names the timestamp, or that has just proved the offset wrong."""
        moved_us = abs(self.skew.offset_us - offset_us)
        return refusal.about_time or (refusal.status == 401 and moved_us > _CLEARLY_WRONG_US)

    def _once(
        self, path: str, params: tuple[tuple[str, str], ...], offset_us: int
    ) -> Answer | Refusal | str:
        """Send one request; the text says why it can only be tried again."""
        self.bucket.acquire(self.bucket.limit.cost(path))
        sent_us = self._timer.now_us()
        headers = {}
        if self._signer is not None:
            stamp_ms = (sent_us + offset_us) // 1000
            headers = self._signer.headers("GET", API_PATH + path, timestamp_ms=stamp_ms)
        self.counts["sent"] += 1
        url = self.environment.rest_url + API_PATH + path
        try:
            response = self._http.get(url, params=list(params), headers=headers)
        except httpx.TransportError as error:
            self.counts["broken"] += 1
            return f"a broken connection ({type(error).__name__})"
        received_us = self._timer.now_us()
        self.skew.observe(response.headers.get("date"), sent_us=sent_us, received_us=received_us)
        if not response.is_success:
            self.counts[f"status_{response.status_code}"] += 1
            if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
                self.bucket.drain()
            return read_refusal(response.status_code, response.content)
        try:
            value = decode(response.content, name=path)
        except SchemaMismatchError as error:
            self.counts["cut_off"] += 1
            return f"{error.got}, which is not whole JSON"
        return Answer(path, params, response.status_code, response.content, received_us, value)
