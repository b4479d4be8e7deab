"""All ways in which providers are known to behave, with what must come of each: a table for tests and for a bench."""

from behaviour import Behaviour

from behaviours import accounts, limits, money, network, one_request, parameters, reading, replies

TABLE: tuple[Behaviour, ...] = (
    *replies.ROWS,
    *reading.ROWS,
    *one_request.ROWS,
    *accounts.ROWS,
    *limits.ROWS,
    *network.ROWS,
    *parameters.ROWS,
    *money.ROWS,
)
