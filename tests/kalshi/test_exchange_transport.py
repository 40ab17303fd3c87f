"""GET requests under trouble: clocks, keys, storms, cut-off answers, limits."""

import random

import httpx
import pytest

from quant_engine.core.errors import (
    ConfigError,
    EmptyDataError,
    SchemaMismatchError,
    SourceUnavailableError,
)
from quant_engine.kalshi.exchange import environments, refusals
from quant_engine.kalshi.exchange.limits import RateLimit, TokenBucket, read_limit
from quant_engine.kalshi.exchange.signing import Signer
from quant_engine.kalshi.exchange.skew import ClockSkew
from quant_engine.kalshi.exchange.timing import VirtualTimer
from quant_engine.kalshi.exchange.transport import RetryPolicy, Transport
from quant_engine.kalshi.fake.rest import FakeConfig, Fault


def storm(kind, count, start=0):
    return {number: Fault(kind) for number in range(start, start + count)}


@pytest.mark.parametrize("offset_s", [-3600, -30, -6, 0, 4, 30, 86_400])
def test_a_skewed_clock_is_corrected(scene, offset_s):
    made = scene(config=FakeConfig(clock_offset_us=offset_s * 1_000_000))
    assert made.client.is_trading()
    refused = abs(offset_s) > 5
    assert [status for _, status in made.exchange.log] == ([401, 200] if refused else [200])
    assert made.transport.counts["resynchronised"] == refused
    assert abs(made.transport.skew.offset_us - offset_s * 10**6) <= 1_030_000
    for _ in range(20):
        made.timer.sleep(0.347)
        made.client.is_trading()
    assert made.transport.counts["status_401"] == refused
    # Twenty answers at different fractions of a second prove the offset to 0.15 s.
    assert made.transport.skew.width_us < 150_000


def test_a_refusal_that_does_not_name_the_time_is_judged_by_its_date(scene, monkeypatch):
    monkeypatch.setattr(refusals.Refusal, "about_time", False)
    made = scene(config=FakeConfig(clock_offset_us=30_000_000))
    assert made.client.is_trading()
    assert [status for _, status in made.exchange.log] == [401, 200]


def test_a_clock_that_cannot_be_corrected_is_an_error(scene, monkeypatch):
    made = scene(config=FakeConfig(clock_offset_us=3_600_000_000))
    monkeypatch.setattr(ClockSkew, "observe", lambda *_, **__: None)
    with pytest.raises(ConfigError, match="clock of this machine") as caught:
        made.client.is_trading()
    assert "Set the machine's clock" in caught.value.hint
    assert len(made.exchange.log) == 2


def test_skew_starts_anew_when_a_clock_was_set():
    skew = ClockSkew()
    skew.observe("Thu, 01 Jan 1970 00:01:00 GMT", sent_us=60_000_000, received_us=60_100_000)
    assert skew.offset_us == 0
    skew.observe("Thu, 01 Jan 1970 01:01:00 GMT", sent_us=61_000_000, received_us=61_100_000)
    assert abs(skew.offset_us - 3_599_450_000) <= 1
    for nonsense in (None, "yesterday", ""):
        skew.observe(nonsense, sent_us=0, received_us=1)
    assert abs(skew.offset_us - 3_599_450_000) <= 1


@pytest.mark.parametrize("case", ["wrong id", "wrong key", "missing key"])
def test_a_wrong_key_is_one_clear_error(scene, keys, case):
    signer = {
        "wrong id": Signer("99999999-0000-0000-0000-0000000000ff", keys.pem()),
        "wrong key": Signer(keys.signer("rsa").key_id, keys.pem("ed")),
        "missing key": None,
    }[case]
    made = scene(signer=signer)
    if signer is None:
        made.transport._signer = None
    with pytest.raises(ConfigError, match="API key: wanted a key that fake knows") as caught:
        made.client.is_trading()
    assert len(made.exchange.log) == 1
    assert keys.pem().decode()[30:60] not in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_demo_key_never_reaches_production(keys):
    with httpx.Client(transport=httpx.MockTransport(lambda _: pytest.fail("sent"))) as http:
        with pytest.raises(ConfigError, match=r"wanted a key of the environment prod.*of demo"):
            Transport(
                http,
                environments.environment("prod"),
                timer=VirtualTimer(0),
                jitter=random.Random(0).random,
                signer=keys.signer(environment="demo"),
            )
    assert environments.environment() == environments.environment("demo")


def test_environments_are_encrypted_or_on_this_machine():
    with pytest.raises(ConfigError, match="in the clear"):
        environments.Environment("x", "http://example.org", "wss://example.org")
    with pytest.raises(ConfigError, match="in the clear"):
        environments.Environment("x", "https://example.org", "ws://127.0.0.1.example.org")
    with pytest.raises(ConfigError, match="Did you mean 'prod'"):
        environments.environment("prd")


def test_a_429_storm_passes(scene):
    made = scene(faults=storm("429", 6))
    assert made.client.is_trading()
    assert [status for _, status in made.exchange.log] == [429] * 6 + [200]
    # The bucket is emptied as well: the next request waits for fresh tokens.
    assert made.transport.counts == {"sent": 7, "status_429": 6, "repeated": 6}


def test_a_429_storm_without_end_is_given_up(scene):
    made = scene(faults=storm("429", 100), attempts=5)
    with pytest.raises(SourceUnavailableError, match="in 5 attempts, got 429") as caught:
        made.client.is_trading()
    assert caught.value.exit_code == 6
    assert len(made.exchange.log) == 5


def test_waits_grow_are_random_and_repeatable(scene):
    waits = []
    for _ in range(2):
        made = scene(faults=storm("500", 7))
        before = made.timer.elapsed_s()
        made.client.is_trading()
        waits.append(made.timer.elapsed_s() - before)
    assert waits[0] == waits[1]
    draws = random.Random(3)
    expected = sum(draws.random() * min(10.0, 0.25 * 2**k) for k in range(7)) + 8 * 0.03
    assert waits[0] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("kind", ["cut_off", "plain_error", "nested_error", "502"])
def test_trouble_that_passes_is_repeated(scene, kind):
    made = scene(faults=storm(kind, 2))
    assert made.client.is_trading()
    assert len(made.exchange.log) == 3


def test_cut_off_json_for_ever_is_named(scene):
    with pytest.raises(SourceUnavailableError, match="not whole JSON"):
        scene(faults=storm("cut_off", 9), attempts=3).client.is_trading()


def test_a_broken_connection_is_repeated(scene):
    made = scene()
    calls = []

    def broken(request):
        calls.append(request)
        if len(calls) < 3:
            raise httpx.ConnectError("refused")
        return made._handle(request)

    made.transport._http = httpx.Client(transport=httpx.MockTransport(broken))
    assert made.client.is_trading()
    assert made.transport.counts["broken"] == 2


def test_what_does_not_exist_is_not_asked_twice(scene):
    made = scene()
    with pytest.raises(EmptyDataError, match="not found"):
        made.client.market("NOPE")
    assert len(made.exchange.log) == 1


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (b'{"error":"text"}', "", "text"),
        (b'{"error":{"code":"c","message":"m"}}', "c", "m"),
        (b'{"code":"c","message":"m","details":"d"}', "c", "m d"),
        (b"<html>bad gateway", "", "<html>bad gateway"),
        (b"[1]", "", ""),
        (b"", "", ""),
    ],
)
def test_every_shape_of_error_is_read(body, code, message):
    refusal = refusals.read_refusal(400, body)
    assert (refusal.code, refusal.message) == (code, message)


@pytest.mark.parametrize(("status", "cause"), [
    (400, ConfigError), (401, ConfigError), (403, ConfigError), (404, EmptyDataError),
    (405, ConfigError), (429, SourceUnavailableError), (503, SourceUnavailableError),
])  # fmt: skip
def test_every_status_has_its_cause(status, cause):
    error = refusals.refusal_error(refusals.Refusal(status, "c", "m"), "/x", environment="demo")
    assert type(error) is cause
    assert str(status) in str(error)


def test_only_get_exists(scene):
    made = scene()
    made.client.events()
    verbs = {"post", "put", "delete", "patch", "order", "cancel", "request", "send"}
    for thing in (made.client, made.transport):
        names = {name for name in dir(thing) if not name.startswith("_")}
        assert not [name for name in names if set(name.split("_")) & verbs]
    assert dict(made.exchange.counts) == {"GET": 1}
    target = "/trade-api/v2/portfolio/events/orders"
    headers = made.keys.signer().headers("POST", target, timestamp_ms=made.timer.now_us() // 1000)
    assert made.exchange.handle("POST", target, headers).status == 405


def test_the_client_stays_below_the_limit_that_the_account_states(scene):
    made = scene(config=FakeConfig(tokens_per_s=200, capacity=400), limit=RateLimit(60.0, 20.0))
    limit = made.client.adopt_account_limits()
    assert (limit.tokens_per_s, limit.capacity, limit.default_cost) == (200, 400, 10)
    started = made.timer.elapsed_s()
    for _ in range(300):
        made.client.is_trading()
    assert made.transport.counts["status_429"] == 0
    # 300 requests cost 3,000 tokens and nothing was saved up: 15 s, within one bucket.
    assert 13.0 <= made.timer.elapsed_s() - started <= 15.1


def test_the_bucket_never_spends_more_than_it_earns():
    timer, draws = VirtualTimer(0), random.Random(1)
    bucket = TokenBucket(RateLimit(50.0, 100.0), timer)
    spent = 0.0
    for _ in range(500):
        timer.sleep(draws.random() * 0.2)
        cost = draws.choice([10, 20, 100])
        bucket.acquire(cost)
        spent += cost
        assert spent <= 100.0 + 50.0 * timer.elapsed_s() + 1e-3
    with pytest.raises(ConfigError, match="at most the capacity"):
        bucket.acquire(101)
    with pytest.raises(ConfigError, match="at least 0"):
        timer.sleep(-1)


def test_limits_of_every_form():
    costs = {"default_cost": 5, "endpoint_costs": [{"path": "/a/{t}/b", "cost": 20}]}
    limit = read_limit({"read": {"refill_rate": 300, "bucket_capacity": 600}}, costs)
    assert (limit.cost("/a/X/b"), limit.cost("/a/X"), limit.cost("/a/X/c")) == (20, 5, 5)
    assert read_limit({"usage_tier": "basic", "read_limit": 20}).tokens_per_s == 200
    with pytest.raises(SchemaMismatchError, match="refill_rate"):
        read_limit({"usage_tier": "basic"})
    with pytest.raises(ConfigError, match="at least the cost"):
        RateLimit(1.0, 5.0)
    with pytest.raises(ConfigError, match="positive"):
        RateLimit(0.0, 50.0)
    with pytest.raises(ConfigError, match="positive"):
        RetryPolicy(attempts=0)
