"""Identity and rules, decided in a process: `verify` by followed rules, a guard's two look-ups, an index of rules.

    python -m benchmarks.auth [--seconds 0.5] [--rounds 5]

The peer is what `verify` cannot do without: a coroutine that looks a tuple up in a dictionary. Interleaved; medians. The
guard's tokens are used as a busy door sees them: most calls by few accounts (Zipf), and more accounts than it remembers.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import time

RULES = (1, 100, 10_000)
ACCOUNTS = 6_000  # a guard remembers 4,096 tokens
CALLS = 60_000


async def opened(rules):
    """Give an auth that follows so many rules, each about a service of its own."""
    from micro.auth.api import Auth
    from micro.auth.driver import Resource, Rule
    from micro.auth.store import StoreAuth
    from micro.context import Account
    from micro.store.api import Store
    from micro.store.memory import MemoryStore

    driver = StoreAuth(store=Store(MemoryStore(), plugin="memory"))
    await driver.open()
    for at in range(rules):
        await driver.put_rule("shop", Rule(f"r{at}", f"scope{at % 7}", Resource(f"s{at}", "service", "*"), 1 + at % 2))
    auth, ann = Auth(driver, namespace="shop"), Account("ann", issuer="shop", scopes=("writer", "scope0"))
    while not auth._verdicts.known:
        await auth.verify(ann, "service:orders:Orders.Place")
        await asyncio.sleep(0)
    return auth, ann


async def verify_rate(auth, ann, seconds):
    end, done = time.perf_counter() + seconds, 0
    begun = time.perf_counter()
    while time.perf_counter() < end:
        for _ in range(1000):
            await auth.verify(ann, "service:orders:Orders.Place")
        done += 1000
    return done / (time.perf_counter() - begun)


async def bare_rate(seconds):
    known = {("shop", "shop", ("writer", "scope0"), "service:orders:Orders.Place"): True}

    async def look(namespace, issuer, scopes, resource):
        if not known[(namespace, issuer, scopes, resource)]:
            raise PermissionError

    end, done = time.perf_counter() + seconds, 0
    begun = time.perf_counter()
    while time.perf_counter() < end:
        for _ in range(1000):
            await look("shop", "shop", ("writer", "scope0"), "service:orders:Orders.Place")
        done += 1000
    return done / (time.perf_counter() - begun)


async def verifies(options):
    for rules in RULES:
        auth, ann = await opened(rules)
        pairs = [
            (await verify_rate(auth, ann, options.seconds), await bare_rate(options.seconds))
            for _ in range(options.rounds)
        ]
        mine, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
        what = f"verify, {rules:,} rules"
        print(f"{what:32} ours {mine:8.0f}/s   bare {theirs:8.0f}/s   ratio {mine / theirs:.2f}   (at least 200000/s)")
        await auth.close()


def decisions(options):
    """Decide what no cache has, of services that a rule speaks of."""
    from micro.auth.decisions import Rules
    from micro.auth.driver import Resource, Rule
    from micro.context import Account

    ann = Account("ann", issuer="shop", scopes=("writer", "scope0"))
    kinds = {}
    for many in RULES:
        rules = Rules("shop", [Rule(f"r{at}", f"scope{at % 7}", Resource(f"s{at}")) for at in range(many)])
        asked = [Resource(f"s{at % many}", "service", "Orders.Place") for at in range(1000)]
        rules.decide(ann, asked[0])  # makes the index
        kinds[many] = rules, asked, []
    for _ in range(options.rounds):
        for rules, asked, rates in kinds.values():
            end, done = time.perf_counter() + options.seconds, 0
            begun = time.perf_counter()
            while time.perf_counter() < end:
                for one in asked:
                    rules.decide(ann, one)
                done += len(asked)
            rates.append(done / (time.perf_counter() - begun))
    first = statistics.median(kinds[RULES[0]][2])
    for many, (_, _, rates) in kinds.items():
        rate = statistics.median(rates)
        print(f"{f'decisions, {many:,} rules':32} ours {rate:8.0f}/s   of one rule's {rate / first:.2f}")


async def tokens():
    from micro.auth.guard import AuthGuard
    from micro.auth.store import StoreAuth
    from micro.auth.tokens import claims, sign
    from micro.store.api import Store
    from micro.store.memory import MemoryStore

    driver = StoreAuth(store=Store(MemoryStore(), plugin="memory"))
    await driver.open()
    guard = AuthGuard("orders", "shop", await driver.keys(), driver=driver)
    await guard.start()
    await guard.prepare(None, "shop")
    key = driver._keyring.keys[0]
    chance = random.Random(1)
    made = [b"Bearer " + sign(claims(f"a{at}", issuer="shop"), key).encode() for at in range(ACCOUNTS)]
    weights = [1 / (at + 1) for at in range(ACCOUNTS)]
    missed, verify = 0, guard._verify

    def counted(authorization):
        nonlocal missed
        missed += 1
        return verify(authorization)

    guard._verify = counted
    for accounts in (1, 1000, ACCOUNTS):
        calls = chance.choices(made[:accounts], weights[:accounts], k=CALLS)
        guard._seen.clear()
        guard._allowed.clear()
        missed = 0
        begun = time.perf_counter()
        for token in calls:
            guard.check(guard.identify(token), "shop", "orders", "Orders.Place")
        rate = CALLS / (time.perf_counter() - begun)
        print(f"{f'a guard, {accounts:,} tokens':32} ours {rate:8.0f}/s   found in the cache {1 - missed / CALLS:.1%}")
    await guard.close()
    await driver.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()

    async def work():
        await verifies(options)
        decisions(options)
        await tokens()

    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work())


if __name__ == "__main__":
    main()
