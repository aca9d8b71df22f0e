"""What people and Prometheus see of a running receiver: the status page, the metrics and two probes.

`server` answers on a port of its own; `view` is what there is to show, gathered once a second; `page` and `metrics`
write it; `history` remembers a day of it; `address` is where it listens.
"""
