"""How long tests wait for what may hang: so long that a slow machine is never taken for a hang."""

HANGS_S = 300
