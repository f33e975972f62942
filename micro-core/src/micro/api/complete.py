"""What may follow the words typed so far, for a shell's completion."""

from __future__ import annotations

from collections.abc import Sequence

from micro.api.command import ServiceInfo, options
from micro.api.flags import names, plain
from micro.api.render import words_of
from micro.schema.info import EndpointInfo


def candidates(service: ServiceInfo, before: Sequence[str], last: str) -> list[str]:
    """Give the words, sorted, that `last` may become: an endpoint's words, or its flags.

    `before` are the words between the service's name and `last`.
    """
    typed = [word for word in before if not word.startswith("-")]
    endpoints = [(words_of(service, each).split(), each) for each in service.endpoints.values()]
    if not last.startswith("-"):
        found = {words[len(typed)] for words, _ in endpoints if len(words) > len(typed) and _begins(words, typed)}
        return sorted(word for word in found if word.startswith(last.lower()))
    chosen = [each for words, each in endpoints if len(words) == len(typed) and _begins(words, typed)]
    if not chosen and not typed:
        chosen = [each for words, each in endpoints if words == ["call"]]
    if not chosen:
        return []
    return [flag for flag in _flags(chosen[0]) if flag.startswith(last) or flag[1:].startswith(last)]


def _begins(words: list[str], typed: list[str]) -> bool:
    return [plain(word) for word in words[: len(typed)]] == [plain(word) for word in typed]


def _flags(endpoint: EndpointInfo) -> list[str]:
    fields = names(endpoint.request)
    return [f"--{name}" for name in [*sorted(fields), *sorted(options() - set(fields)), "help"]]
