"""Stack health: whether what sessions send reaches the backends, and whether those are well."""

from blocks import Board, gain, graph, loki, own, prometheus, ranking, stat, table

EACH = "$__interval"
QUEUE = "max by (exporter) (otelcol_exporter_queue_size) / max by (exporter) (otelcol_exporter_queue_capacity)"


def board():
    it = Board(
        "sandboxctl-health",
        "sandboxctl: stack health",
        "The way of telemetry, hop by hop: daemon, collector, Prometheus, Loki, Jaeger; and the disks.",
        span="now-3h",
        refresh="30s",
    )
    now(it)
    daemon(it)
    collector(it)
    backends(it)
    return it


def number(query, **more):
    return prometheus(query, instant=True, **more)


def now(it):
    it.row("Now")
    it.add(
        4,
        4,
        stat("Parts up", "Targets that Prometheus reaches, of all that it knows.", number("sum(up) / count(up)"), "percentunit", steps=("red", (1, "green"))),
        stat("Alerts", "Alerts that fire.", number('count(ALERTS{alertstate="firing"})'), none="none", steps=("green", (1, "red"))),
        stat(
            "Forward lag",
            "Age of the oldest telemetry that a destination does not have yet; the worst of all.",
            number("max(sandboxctl_forward_lag_seconds)"),
            "s",
            steps=("green", (60, "yellow"), (300, "red")),
            none="no destination",
        ),
        stat("Collector's queue", "The fullest of its queues.", number(f"max({QUEUE})"), "percentunit", steps=("green", (0.5, "yellow"), (0.8, "red")), none="no collector"),
        stat(
            "Disk left",
            "Of the daemon's state folder; the least of all daemons.",
            number("min(sandboxctl_state_free_bytes / sandboxctl_state_size_bytes)"),
            "percentunit",
            steps=("red", (0.1, "yellow"), (0.2, "green")),
            none="no daemon",
        ),
        stat("Disk lasts", "Until the state folder's disk is full, at the pace of the last six hours.", number("min(sandboxctl_state_free_bytes / (-deriv(sandboxctl_state_free_bytes[6h]) > 0))"), "s", steps=("red", (86400, "yellow"), (604800, "green")), none="it does not shrink"),
    )
    it.add(
        8,
        8,
        table("Parts", "What Prometheus fetches from; 1 is up.", [("Up", "short", prometheus("up", table=True))], {"job": "Part", "instance": "Address"}),
        table(
            "Alerts",
            "Alerts that fire or are about to.",
            [("Times", "short", prometheus("count by (alertname, alertstate, severity) (ALERTS)", table=True))],
            {"alertname": "Alert", "alertstate": "State", "severity": "Severity"},
            none="none",
        ),
        ranking("Rules that fail", "Groups of rules whose evaluation failed.", number(f"sum by (rule_group) ({gain('prometheus_rule_evaluation_failures_total')}) > 0", legend="{{rule_group}}"), none="none"),
    )


def daemon(it):
    it.row("Daemon")
    it.add(
        8,
        8,
        graph("Forward lag", "Age of the oldest telemetry that a destination does not have yet.", prometheus("max by (instance, destination) (sandboxctl_forward_lag_seconds)", "{{destination}}"), "s", none="no destination"),
        graph("Waiting", "Frames of journals that a destination does not have yet.", prometheus("max by (instance, destination) (sandboxctl_forward_waiting_frames)", "{{destination}}"), none="no destination"),
        graph(
            "Sent",
            "Requests in each interval that a destination took.",
            prometheus(own("sandboxctl_forward_sent_requests_total", "destination, signal", window=EACH), "{{destination}} {{signal}}"),
            bars=True,
            none="no destination",
        ),
        graph(
            "Not taken",
            "Requests that a destination refused for good, records of others that it rejected, and retries, in each interval.",
            [
                prometheus(own("sandboxctl_forward_refused_requests_total", "destination", window=EACH), "{{destination}} refused"),
                prometheus(own("sandboxctl_forward_rejected_records_total", "destination", window=EACH), "{{destination}} rejected"),
                prometheus(own("sandboxctl_forward_retries_total", "destination", window=EACH), "{{destination}} retried"),
            ],
            bars=True,
            none="no destination",
        ),
        graph("Records", "Spans, points and log records of sessions in each interval.", prometheus(own("sandboxctl_otlp_records_total", "signal", window=EACH), "{{signal}}"), bars=True, none="no daemon"),
        graph(
            "Journals",
            "Bytes written to journals in each interval.",
            prometheus(own("sandboxctl_recorded_bytes_total", "instance", window=EACH), "{{instance}}"),
            "bytes",
            bars=True,
            none="no daemon",
        ),
        graph(
            "Disk of the state folder",
            "What is free.",
            prometheus("max by (instance) (sandboxctl_state_free_bytes)", "{{instance}}"),
            "bytes",
            min=0,
            none="no daemon",
        ),
        graph(
            "Memory",
            "Resident memory of the daemon.",
            prometheus('max by (instance) (process_resident_memory_bytes{job="sandboxctl"})', "{{instance}}"),
            "bytes",
            min=0,
            none="no daemon",
        ),
        graph("Requests to the page and the API", "By status, in each interval.", prometheus(own("sandboxctl_http_requests_total", "status", window=EACH), "{{status}}"), bars=True, none="no daemon"),
    )


def collector(it):
    def rate(metric, by):
        return f"sum by ({by}) (rate({metric}[$__rate_interval]))"

    def each(verb, name):
        kinds = {"points": "metric_points", "logs": "log_records", "spans": "spans"}
        return [prometheus(rate(f"otelcol_{verb}_{kind}_total", name), "{{%s}} %s" % (name, label)) for label, kind in kinds.items()]

    it.row("Collector")
    it.add(
        8,
        8,
        graph("Taken", "Points, log records and spans a second.", each("receiver_accepted", "receiver"), none="no collector"),
        graph("Sent", "Points, log records and spans a second, by exporter.", each("exporter_sent", "exporter"), none="no collector"),
        graph("Failed", "What an exporter gave up, a second; with queues on disk nothing should be.", each("exporter_send_failed", "exporter"), none="none"),
        graph("Queues", "How full each exporter's queue is.", prometheus(QUEUE, "{{exporter}}"), "percentunit", min=0, max=1, none="no collector"),
        graph("Memory", "Resident memory of the collector.", prometheus("max by (instance) (otelcol_process_memory_rss_bytes)", "{{instance}}"), "bytes", min=0, none="no collector"),
        graph("Refused", "What the collector did not take, a second: its memory limit at work.", each("receiver_refused", "receiver"), none="none"),
    )


def backends(it):
    it.row("Prometheus and Loki")
    it.add(
        8,
        8,
        graph("Series", "Series in Prometheus' head.", prometheus("prometheus_tsdb_head_series", "{{instance}}"), min=0),
        graph(
            "Samples",
            "Samples a second that Prometheus took, and what came too late to be kept.",
            [
                prometheus("sum(rate(prometheus_tsdb_head_samples_appended_total[$__rate_interval]))", "taken"),
                prometheus("sum(rate(prometheus_tsdb_too_old_samples_total[$__rate_interval]))", "too old"),
                prometheus("sum(rate(prometheus_tsdb_out_of_order_samples_total[$__rate_interval]))", "out of order"),
            ],
        ),
        graph("Prometheus' disk", "Blocks and the write-ahead log.", [prometheus("prometheus_tsdb_storage_blocks_bytes", "blocks"), prometheus("prometheus_tsdb_wal_storage_size_bytes", "log")], "bytes", min=0, stacked=True),
        graph("Lines", "Log lines a second that Loki took.", prometheus("sum(rate(loki_distributor_lines_received_total[$__rate_interval]))", "lines"), none="no Loki"),
        graph(
            "Rejected lines",
            "What Loki did not take, by reason, in each interval.",
            prometheus(f"sum by (reason) ({gain('loki_discarded_samples_total', EACH)})", "{{reason}}"),
            bars=True,
            none="none",
        ),
        graph(
            "Events in Loki",
            "Events of sessions that can be found, in each interval.",
            loki('sum(count_over_time({service_name="claude-code"} [$__interval]))', "events"),
            bars=True,
        ),
    )
