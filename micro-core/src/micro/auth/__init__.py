"""Who may do what: accounts, tokens, rules."""
