"""Webhooks: the marketplace is told what happened, signed as Standard Webhooks says, at least once and in order.

An event is written to the outbox in the transaction of what it tells. Every worker queues what is new for each endpoint
that wants it, claims streams (the events of one dispute at one endpoint) that are due, and sends each one's events one
after the other.
"""
