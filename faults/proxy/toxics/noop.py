"""noop: passes everything on. What a connection gets on which a toxic's dice did not fall."""

from taskchaos.faults.proxy.toxics.base import Stage, register


@register("noop", "NoopToxic")
class NoopToxic(Stage):
    pass
