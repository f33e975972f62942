"""The types of micro.blocking.auth, written by scripts/blocking.py."""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from micro.auth.driver import Made
from micro.auth.face import F
from micro.durations import Duration
import builtins
from micro.auth import Account as Account
from micro.auth import Auth as Auth
from micro.auth import AuthDriver as AuthDriver
from micro.auth import AuthGuard as AuthGuard
from micro.auth import Resource as Resource
from micro.auth import Rule as Rule
from micro.auth import Token as Token

class _Accounts:

    def create(self, id: str, *, secret: str='', type: str='user', scopes: Sequence[str]=..., metadata: Mapping[str, str] | None=None, name: str='', replace: bool=False) -> Made:
        """Add an account and give it with its secret, which is made when empty and told this once."""
        ...

    def list(self) -> builtins.list[Account]:
        """Give all accounts, by id."""
        ...

    def get(self, id: str) -> Account | None:
        """Give the account of this id, else of this name; None without one."""
        ...

    def delete(self, id: str) -> None:
        """Remove an account by id; its tokens are refused within 5 seconds. NotFound."""
        ...

    def change_secret(self, id: str, new: str, *, old: str | None=None) -> None:
        """Change a secret; all tokens of the account end. NotFound; InvalidArgument for a wrong old one."""
        ...

class _Rules:

    def create(self, rule: Rule) -> None:
        """Add a rule; AlreadyExists. In force everywhere within 5 seconds."""
        ...

    def list(self) -> builtins.list[Rule]:
        """Give all rules, by id; `default` is one of them until it is deleted."""
        ...

    def delete(self, id: str) -> None:
        """Delete a rule; a missing one is fine."""
        ...

def current() -> Account | None:
    """Give who makes the call being answered; None for nobody, and outside of a call."""
    ...

def require(*scopes: str) -> Callable[[F], F]:
    """Let an endpoint answer only accounts that have all of these scopes; without any, every account."""
    ...

def verify(account: Account | None, resource: Resource | str) -> None:
    """Ask the rules: see Auth.verify."""
    ...

def login(id: str, secret: str, *, ttl: Duration=900.0) -> Token:
    """Give a token for an account's id and secret: see Auth.login."""
    ...

accounts: _Accounts

rules: _Rules
