"""How much a month takes: waiting times by formula and by simulation, bytes, machines, money."""
