"""Who calls and what they may: accounts, tokens, rules."""

TYPE_CHECKING = False

if TYPE_CHECKING:
    from micro.auth.api import Auth as Auth
    from micro.auth.driver import AuthDriver as AuthDriver
    from micro.auth.driver import Resource as Resource
    from micro.auth.driver import Rule as Rule
    from micro.auth.driver import Token as Token
    from micro.auth.face import accounts as accounts
    from micro.auth.face import current as current
    from micro.auth.face import login as login
    from micro.auth.face import require as require
    from micro.auth.face import rules as rules
    from micro.auth.face import verify as verify
    from micro.auth.guard import AuthGuard as AuthGuard
    from micro.context import Account as Account
else:
    from micro._lazy import lazy

    _FACE = ("accounts", "current", "login", "require", "rules", "verify")
    _DRIVER = ("Account", "AuthDriver", "Resource", "Rule", "Token")
    __getattr__, __dir__, __all__ = lazy(
        __name__,
        {"Auth": "api", "AuthGuard": "guard"} | dict.fromkeys(_DRIVER, "driver") | dict.fromkeys(_FACE, "face"),
    )
