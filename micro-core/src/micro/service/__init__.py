"""Service and Client: declare endpoints, run, drain; call and stream. And what a core service is given."""
