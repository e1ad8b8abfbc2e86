"""What dashboards are made of: queries, panels, variables, and the board that lays panels out.

A panel is placed with a width and a height; the board fills rows of 24 columns from left to right. Queries name
their data source by its uid, which is the same as its kind. Totals over a range are `increase(… anchored)`: the
exact difference of two samples, where plain `increase` extrapolates and turns one commit into 1.07. Prometheus has
to be told to know the word; compose/compose.yaml does.
"""

COLUMNS = 24

# Who is counted: the client's metrics, narrowed by the variables at the top of a board.
CLIENT = 'job="claude-code",user_email=~"$user",team=~"$team",sandbox_profile=~"$profile"'
# The client's events. In Loki the body is only the event's name: everything else is structured metadata.
EVENTS = '{service_name="claude-code",team=~"$team",sandbox_profile=~"$profile"} | user_email=~"$user"'
# The same of one session, by any prefix of its id.
SESSION = '{service_name="claude-code"} | sandbox_session_id=~"$session.*"'

COST = "claude_code_cost_usage_USD_total"
TOKENS = "claude_code_token_usage_tokens_total"
LINES = "claude_code_lines_of_code_count_total"
COMMITS = "claude_code_commit_count_total"
PULLS = "claude_code_pull_request_count_total"
ACTIVE = "claude_code_active_time_seconds_total"
STARTS = "claude_code_session_count_total"
EDITS = "claude_code_code_edit_tool_decision_total"


# Queries ---------------------------------------------------------------------------------------------------------


def gain(selector, window="$__range"):
    """What counters gained in a window, to the unit."""
    return f"increase({selector}[{window}] anchored)"


def total(metric, by="", more="", window="$__range"):
    """What a counter of the client gained."""
    labels = CLIENT + ("," + more if more else "")
    return f"sum{_by(by)} ({gain(f'{metric}{{{labels}}}', window)})"


def own(metric, by="", more="", window="$__range"):
    """What a counter of the daemon gained. Pushed and fetched it stands under two jobs, so one of them counts."""
    inner = ", ".join(["instance", *OWN_LABELS[metric]])
    selector = f"{metric}{{{more}}}" if more else metric
    return f"sum{_by(by)} (max by ({inner}) ({gain(selector, window)}))"


# The labels of the daemon's counters, beside job and instance.
OWN_LABELS = {
    "sandboxctl_session_starts_total": ["engine", "result"],
    "sandboxctl_session_ends_total": ["reason"],
    "sandboxctl_recorded_bytes_total": [],
    "sandboxctl_http_requests_total": ["method", "status"],
    "sandboxctl_otlp_requests_total": ["signal", "result"],
    "sandboxctl_otlp_records_total": ["signal"],
    "sandboxctl_hooks_total": ["event", "decision"],
    "sandboxctl_model_calls_total": ["result"],
    "sandboxctl_model_cost_usd_total": ["profile"],
    "sandboxctl_egress_total": ["result"],
    "sandboxctl_forward_sent_requests_total": ["destination", "signal"],
    "sandboxctl_forward_refused_requests_total": ["destination"],
    "sandboxctl_forward_rejected_records_total": ["destination"],
    "sandboxctl_forward_retries_total": ["destination"],
}


def _by(labels):
    return f" by ({labels})" if labels else ""


def events(name, more="", base=EVENTS):
    """Log records of one event."""
    return f'{base} | event_name="{name}"' + (f" | {more}" if more else "")


def counted(stream, by="", window="$__range"):
    """How many log records."""
    return f"sum{_by(by)} (count_over_time({stream} [{window}]))"


def added(stream, field, by="", window="$__range"):
    """The sum of a field of log records."""
    return f"sum{_by(by)} (sum_over_time({stream} | unwrap {field} [{window}]))"


def quantile(q, stream, field, by, window="$__interval"):
    """A quantile of a field of log records."""
    return f"quantile_over_time({q}, {stream} | unwrap {field} [{window}]){_by(by)}"


def prometheus(expr, legend="", instant=False, table=False):
    """A query of Prometheus: over the range, or, for a number or a table, at its end."""
    return {
        "datasource": {"type": "prometheus", "uid": "prometheus"},
        "editorMode": "code",
        "expr": expr,
        "format": "table" if table else "time_series",
        "instant": instant or table,
        "legendFormat": legend or "__auto",
        "range": not (instant or table),
    }


def loki(expr, legend="", instant=False, lines=None):
    """A query of Loki: log lines, or a number of them over the range or at its end."""
    query = {
        "datasource": {"type": "loki", "uid": "loki"},
        "editorMode": "code",
        "expr": expr,
        "queryType": "instant" if instant else "range",
    }
    if legend:
        query["legendFormat"] = legend
    if lines:
        query["maxLines"] = lines
        query["direction"] = "backward"
    return query


def jaeger(service, operation="", tags="", min_duration="", limit=50):
    """A search for traces."""
    query = {
        "datasource": {"type": "jaeger", "uid": "jaeger"},
        "queryType": "search",
        "service": service,
        "limit": limit,
    }
    for key, value in (("operation", operation), ("tags", tags), ("minDuration", min_duration)):
        if value:
            query[key] = value
    return query


def trace(id_):
    """One trace by its id."""
    return {"datasource": {"type": "jaeger", "uid": "jaeger"}, "query": id_}


# Panels ----------------------------------------------------------------------------------------------------------


def _panel(kind, title, about, targets, unit, options, custom=None, none="no data", **more):
    defaults = {"noValue": none, "unit": unit}
    decimals, color, steps, names, overrides, minimum, maximum = (
        more.pop(key, None) for key in ("decimals", "color", "steps", "names", "overrides", "min", "max")
    )
    if decimals is not None:
        defaults["decimals"] = decimals
    if minimum is not None:
        defaults["min"] = minimum
    if maximum is not None:
        defaults["max"] = maximum
    if color:
        defaults["color"] = color
    if steps:
        defaults["thresholds"] = thresholds(*steps)
    if names:
        defaults["mappings"] = [
            {"type": "value", "options": {key: {"text": text, "index": i} for i, (key, text) in enumerate(names.items())}}
        ]
    if custom is not None:
        defaults["custom"] = custom
    for letter, target in zip("ABCDEFGHIJ", targets, strict=False):
        target["refId"] = letter
    kinds = {target["datasource"]["uid"] for target in targets}
    uid = kinds.pop() if len(kinds) == 1 else "-- Mixed --"
    return {
        "type": kind,
        "title": title,
        "description": about,
        "datasource": {"type": "datasource" if uid == "-- Mixed --" else uid, "uid": uid},
        "targets": targets,
        "options": options,
        "fieldConfig": {"defaults": defaults, "overrides": overrides or []},
        **more,
    }


def thresholds(*steps):
    """Colours from values on: the first holds below all values."""
    first, *rest = steps
    found = [{"color": first, "value": None}]
    found += [{"color": color, "value": value} for value, color in rest]
    return {"mode": "absolute", "steps": found}


def stat(title, about, targets, unit="short", fields="", graph=False, **more):
    """One number, or a few."""
    options = {
        "colorMode": "value",
        "graphMode": "area" if graph else "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "percentChangeColorMode": "standard",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": fields, "values": False},
        "showPercentChange": False,
        "textMode": "auto",
        "wideLayout": True,
    }
    more.setdefault("steps", ("text",))
    more.setdefault("color", {"mode": "thresholds"})
    return _panel("stat", title, about, _list(targets), unit, options, **more)


def graph(title, about, targets, unit="short", bars=False, stacked=None, calcs=("lastNotNull",), **more):
    """Lines over time, or bars of what each interval held."""
    custom = {
        "axisPlacement": "auto",
        "barAlignment": -1,
        "drawStyle": "bars" if bars else "line",
        "fillOpacity": 70 if bars else 10,
        "lineInterpolation": "linear",
        "lineWidth": 1,
        "showPoints": "never" if bars else "auto",
        "spanNulls": False,
        "stacking": {"group": "A", "mode": "normal" if (bars if stacked is None else stacked) else "none"},
    }
    options = {
        "legend": {
            "calcs": list(("sum",) if bars else calcs),
            "displayMode": "table",
            "placement": "bottom",
            "showLegend": True,
        },
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    if bars:
        more.setdefault("interval", "1m")
        more.setdefault("maxDataPoints", 60)
    more.setdefault("color", {"mode": "palette-classic"})
    return _panel("timeseries", title, about, _list(targets), unit, options, custom, **more)


def ranking(title, about, targets, unit="short", **more):
    """Who has most: a bar for each."""
    options = {
        "displayMode": "basic",
        "legend": {"calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": False},
        "maxVizHeight": 24,
        "minVizHeight": 12,
        "minVizWidth": 8,
        "namePlacement": "left",
        "orientation": "horizontal",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "showUnfilled": True,
        "sizing": "auto",
        "valueMode": "color",
    }
    more.setdefault("color", {"mode": "palette-classic"})
    more.setdefault("min", 0)
    return _panel("bargauge", title, about, _list(targets), unit, options, **more)


def heatmap(title, about, targets, unit="s", **more):
    """How a histogram's buckets fill over time."""
    for target in _list(targets):
        target["format"] = "heatmap"
    options = {
        "calculate": False,
        "cellGap": 1,
        "color": {"exponent": 0.5, "fill": "dark-orange", "mode": "scheme", "reverse": False, "scheme": "Oranges", "steps": 64},
        "exemplars": {"color": "rgba(255,0,255,0.7)"},
        "filterValues": {"le": 1e-9},
        "legend": {"show": True},
        "rowsFrame": {"layout": "auto"},
        "showValue": "never",
        "tooltip": {"mode": "single", "showColorScale": False, "yHistogram": False},
        "yAxis": {"axisPlacement": "left", "reverse": False, "unit": unit},
    }
    return _panel("heatmap", title, about, _list(targets), "short", options, **more)


def table(title, about, columns, key=None, sort=None, links=None, **more):
    """A row for each value of a label. `columns` are (name, unit, query); several queries are joined by `key`."""
    targets, renamed, overrides = [], {}, []
    for letter, (name, unit, query) in zip("ABCDEFGHIJ", columns, strict=False):
        targets.append(query)
        value = f"Value #{letter}" if len(columns) > 1 else "Value"
        renamed[value] = name
        if len(columns) == 1 and query["datasource"]["uid"] == "loki":
            renamed["Value #A"] = name
        overrides.append(override(name, unit=unit))
    for label, name in (key or {}).items():
        renamed[label] = name
    for name, url in (links or {}).items():
        link = {"title": "Open", "url": url, "targetBlank": False}
        overrides.append({"matcher": {"id": "byName", "options": name}, "properties": [{"id": "links", "value": [link]}]})
    joined = next(iter(key or {}), None)
    transformations = []
    if joined and len(columns) > 1:
        transformations.append({"id": "joinByField", "options": {"byField": joined, "mode": "outer"}})
    hidden = {name: True for name in ["Time", *(f"Time {n}" for n in range(1, len(columns) + 1))]}
    order = {name: i for i, name in enumerate([*(key or {}), *(k for k in renamed if k not in (key or {}))])}
    transformations.append(
        {"id": "organize", "options": {"excludeByName": hidden, "indexByName": order, "renameByName": renamed}}
    )
    options = {"cellHeight": "sm", "frameIndex": 0, "showHeader": True}
    if sort:
        options["sortBy"] = [{"desc": True, "displayName": sort}]
    custom = {"align": "auto", "cellOptions": {"type": "auto"}, "filterable": True, "inspect": False}
    more["overrides"] = overrides + more.pop("overrides", [])
    return _panel("table", title, about, targets, "short", options, custom, transformations=transformations, **more)


def override(name, **properties):
    """What is different of one field: unit=, or any other property with its dots written `__`."""
    properties = [{"id": key.replace("__", "."), "value": value} for key, value in properties.items()]
    return {"matcher": {"id": "byName", "options": name}, "properties": properties}


def traces_table(title, about, target, trace_link, **more):
    """Traces that a search found; the id opens one below."""
    link = [{"title": "Show this trace below", "url": trace_link, "targetBlank": False}]
    overrides = [{"matcher": {"id": "byName", "options": "Trace ID"}, "properties": [{"id": "links", "value": link}]}]
    options = {"cellHeight": "sm", "frameIndex": 0, "showHeader": True}
    return _panel("table", title, about, [target], "", options, {"align": "auto", "inspect": False}, overrides=overrides, **more)


def one_trace(title, about, target, **more):
    """A trace's spans."""
    panel = _panel("traces", title, about, [target], "", {}, **more)
    return panel


def logs(title, about, target, **more):
    """Log lines."""
    options = {
        "dedupStrategy": "none",
        "enableInfiniteScrolling": False,
        "enableLogDetails": True,
        "prettifyLogMessage": False,
        "showCommonLabels": False,
        "showLabels": False,
        "showLogContextToggle": False,
        "showTime": True,
        "sortOrder": "Descending",
        "wrapLogMessage": True,
    }
    return _panel("logs", title, about, [target], "", options, **more)


def _list(targets):
    return targets if isinstance(targets, list) else [targets]


# Variables -------------------------------------------------------------------------------------------------------


def choice(name, label, query, about):
    """A variable with the values of a label; all of them at first."""
    return {
        "allValue": ".*",
        "allowCustomValue": True,
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "datasource": {"type": "prometheus", "uid": "prometheus"},
        "definition": query,
        "description": about,
        "hide": 0,
        "includeAll": True,
        "label": label,
        "multi": True,
        "name": name,
        "options": [],
        "query": {"qryType": 1, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
        "refresh": 2,
        "regex": "",
        "skipUrlSync": False,
        "sort": 1,
        "type": "query",
    }


def typed(name, label, about):
    """A variable that is typed, or set by a link."""
    return {
        "current": {"selected": False, "text": "", "value": ""},
        "description": about,
        "hide": 0,
        "label": label,
        "name": name,
        "options": [{"selected": True, "text": "", "value": ""}],
        "query": "",
        "skipUrlSync": False,
        "type": "textbox",
    }


USER = choice("user", "User", f"label_values({STARTS}, user_email)", "Whose sessions, by e-mail address.")
TEAM = choice("team", "Team", f"label_values({STARTS}, team)", "Teams, as the daemon's configuration names them.")
PROFILE = choice("profile", "Profile", f"label_values({STARTS}, sandbox_profile)", "Profiles of the daemon's configuration.")
MODEL = choice("model", "Model", f"label_values({TOKENS}, model)", "Models that were used.")
WHO = [USER, TEAM, PROFILE]


# The board -------------------------------------------------------------------------------------------------------


class Board:
    """A dashboard. Panels are added in reading order."""

    def __init__(self, uid, title, about, variables=(), span="now-24h", refresh="1m"):
        self.uid, self.title, self.about = uid, title, about
        self.variables, self.span, self.refresh = list(variables), span, refresh
        self.panels = []
        self.x = self.y = self.deep = 0

    def row(self, title):
        """Begins a part with a title."""
        self._wrap()
        self._put({"type": "row", "title": title, "collapsed": False, "panels": []}, COLUMNS, 1)
        self._wrap()

    def add(self, width, height, *panels):
        """Adds panels of one size."""
        for panel in panels:
            if self.x + width > COLUMNS:
                self._wrap()
            self._put(panel, width, height)

    def _put(self, panel, width, height):
        panel["id"] = len(self.panels) + 1
        panel["gridPos"] = {"x": self.x, "y": self.y, "w": width, "h": height}
        self.panels.append(panel)
        self.x += width
        self.deep = max(self.deep, height)

    def _wrap(self):
        self.x, self.y, self.deep = 0, self.y + self.deep, 0

    def model(self):
        """The dashboard as Grafana's classic JSON."""
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.about,
            "tags": ["sandboxctl"],
            "editable": True,
            "graphTooltip": 1,
            "schemaVersion": 42,
            "timezone": "browser",
            "time": {"from": self.span, "to": "now"},
            "timepicker": {},
            "refresh": self.refresh,
            "annotations": {"list": []},
            "links": [
                {
                    "asDropdown": False,
                    "icon": "external link",
                    "includeVars": True,
                    "keepTime": True,
                    "tags": ["sandboxctl"],
                    "targetBlank": False,
                    "title": "sandboxctl",
                    "tooltip": "",
                    "type": "dashboards",
                    "url": "",
                }
            ],
            "templating": {"list": self.variables},
            "panels": self.panels,
        }
