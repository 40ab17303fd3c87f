"""A weighted token bucket: requests cost tokens, tokens come back at a rate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from quant_engine.core.errors import ConfigError, SchemaMismatchError
from quant_engine.kalshi.exchange.timing import Timer

__all__ = ["CAREFUL_LIMIT", "RateLimit", "TokenBucket", "read_limit"]


@dataclass(frozen=True)
class RateLimit:
    """What an account may spend.

    Parameters
    ----------
    tokens_per_s : float
        Refill.
    capacity : float
        Most tokens that are saved up.
    default_cost : float
        Tokens of one request.
    costs : mapping of str to float
        Path template to its own cost.

    Notes
    -----
    The default, 6 requests per second and 2 at once, is below every documented tier and is kept
    until the account's own limits are known.

    Raises
    ------
    ConfigError
        When a number is not positive or one request costs more than the bucket holds.

    Examples
    --------
    >>> RateLimit().tokens_per_s / RateLimit().default_cost
    6.0
    """

    tokens_per_s: float = 60.0
    capacity: float = 20.0
    default_cost: float = 10.0
    costs: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if min(self.tokens_per_s, self.capacity, self.default_cost) <= 0:
            raise ConfigError("rate limit", wanted="positive numbers", got=self, hint="Use 60, 20.")
        dearest = max([self.default_cost, *self.costs.values()])
        if dearest > self.capacity:
            raise ConfigError(
                "capacity",
                wanted=f"at least the cost of one request, {dearest:g}",
                got=f"{self.capacity:g}",
                hint="A request dearer than the bucket could never be sent.",
            )

    def cost(self, path: str) -> float:
        """Tokens of one request to a path; ``{…}`` in a template stands for one segment."""
        asked = path.strip("/").split("/")
        for template, tokens in self.costs.items():
            parts = template.strip("/").split("/")
            if len(parts) == len(asked) and all(
                part.startswith("{") or part == name
                for part, name in zip(parts, asked, strict=True)
            ):
                return tokens
        return self.default_cost


CAREFUL_LIMIT = RateLimit()
"""The limit in force until the account's own is known."""


class TokenBucket:
    """Waits until a request may be sent.

    Parameters
    ----------
    limit : RateLimit
        Starting limit; the bucket starts full.
    timer : Timer
        Time and waiting.

    Examples
    --------
    >>> from quant_engine.kalshi.exchange.timing import VirtualTimer
    >>> timer = VirtualTimer(0)
    >>> bucket = TokenBucket(RateLimit(tokens_per_s=10, capacity=20), timer)
    >>> [bucket.acquire(10) for _ in range(3)], timer.elapsed_s()
    ([0.0, 0.0, 1.0], 1.0)
    """

    def __init__(self, limit: RateLimit, timer: Timer) -> None:
        self._limit = limit
        self._timer = timer
        self._tokens = limit.capacity
        self._updated_s = timer.elapsed_s()

    @property
    def limit(self) -> RateLimit:
        """The limit in force."""
        return self._limit

    def acquire(self, cost: float) -> float:
        """Take tokens, waiting for them when they are short; returns the seconds waited."""
        if cost > self._limit.capacity:
            raise ConfigError(
                "cost",
                wanted=f"at most the capacity, {self._limit.capacity:g}",
                got=f"{cost:g}",
                hint="Read the account's limits before dear requests.",
            )
        self._refill()
        wait_s = max(0.0, (cost - self._tokens) / self._limit.tokens_per_s)
        if wait_s > 0:
            self._timer.sleep(wait_s)
            self._refill()
        # Float dust after the wait must not ask for another one.
        self._tokens = max(0.0, self._tokens - cost)
        return wait_s

    def drain(self) -> None:
        """Forget the saved tokens: the exchange has just said that there are none."""
        self._refill()
        self._tokens = 0.0

    def update(self, limit: RateLimit) -> None:
        """Go on under another limit; what was saved is kept up to the new capacity."""
        self._refill()
        self._limit = limit
        self._tokens = min(self._tokens, limit.capacity)

    def _refill(self) -> None:
        now_s = self._timer.elapsed_s()
        earned = (now_s - self._updated_s) * self._limit.tokens_per_s
        self._tokens = min(self._limit.capacity, self._tokens + earned)
        self._updated_s = now_s


def read_limit(limits: Any, costs: Any = None) -> RateLimit:
    """Read the answers of ``/account/limits`` and ``/account/endpoint_costs``.

    Parameters
    ----------
    limits : object
        ``{"read": {"refill_rate", "bucket_capacity"}}``, or the older
        ``{"read_limit": requests per second}``.
    costs : object, optional
        ``{"default_cost", "endpoint_costs": [{"method", "path", "cost"}]}``.

    Returns
    -------
    RateLimit
        For reads.

    Raises
    ------
    SchemaMismatchError
        When neither form is there.

    Examples
    --------
    >>> read_limit({"read": {"refill_rate": 200, "bucket_capacity": 400}}).capacity
    400.0
    """
    cost = 10.0
    overrides: dict[str, float] = {}
    if isinstance(costs, dict):
        cost = float(costs.get("default_cost", cost))
        for entry in costs.get("endpoint_costs") or []:
            if entry.get("method", "GET") == "GET":
                overrides[entry["path"]] = float(entry["cost"])
    record = limits if isinstance(limits, dict) else {}
    read = record.get("read")
    if isinstance(read, dict) and {"refill_rate", "bucket_capacity"} <= read.keys():
        return RateLimit(
            float(read["refill_rate"]), float(read["bucket_capacity"]), cost, overrides
        )
    if isinstance(record.get("read_limit"), int | float):
        rate = float(record["read_limit"]) * cost
        return RateLimit(rate, max(rate, cost, *overrides.values()), cost, overrides)
    raise SchemaMismatchError(
        "/account/limits",
        wanted="read.refill_rate and read.bucket_capacity, or read_limit",
        got=f"the fields {sorted(record)}",
        hint="Keep the careful default limit and report the change.",
    )
