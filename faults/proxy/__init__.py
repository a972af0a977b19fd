"""An embedded TCP proxy that speaks Toxiproxy's REST API.

It exists because a chaos run must not need an install: ``python -m taskchaos.faults.proxy`` is a proxy that any
Toxiproxy client can drive. It also removes what makes the real one hard to test with: an API that hangs when a client
dies while a toxic is removed, resets that reach only new connections, dice that nobody can seed.

From the wire up: ``toxics/`` (what happens to chunks), ``tcp/`` (connections, and who listens), ``redis/`` (commands,
rules, journal), ``proxy`` and ``collection``, ``api/`` (HTTP), ``server`` (the process). Imports point down only.
Every change of state is one synchronous step of the event loop; nothing ever waits for a peer's socket in between.
"""
