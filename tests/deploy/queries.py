"""Asks a real Prometheus, which has scraped a real callbox, every query of the dashboard and of the alerts.

    python3 tests/deploy/queries.py http://PROMETHEUS http://CALLBOX/metrics
"""

import json
import re
import sys
import urllib.parse
import urllib.request

import yaml

prometheus, page = sys.argv[1:]


def ask(path, **parameters):
    with urllib.request.urlopen(f"{prometheus}/api/v1/{path}?{urllib.parse.urlencode(parameters)}", timeout=20) as answer:
        return json.load(answer)["data"]


# Grafana's variables, as it would fill them in.
VARIABLES = {"$instance": ".+", "$__rate_interval": "30s"}
queries = []
for panel in json.load(open("deploy/dashboard.json"))["panels"]:
    for target in panel.get("targets", []):
        expression = target["expr"]
        for name, value in VARIABLES.items():
            expression = expression.replace(name, value)
        queries.append((f"panel {panel['title']!r}", expression))
alerts = [r for g in yaml.safe_load(open("deploy/alerts.yaml"))["groups"] for r in g["rules"]]
queries += [(f"alert {rule['alert']}", rule["expr"]) for rule in alerts]

# A name that is written wrong would be an alert that never fires and a panel that stays empty.
with urllib.request.urlopen(page, timeout=20) as answer:
    served = set(re.findall(r"^(callbox_\w+)", answer.read().decode(), re.M))
named = {name for _, query in queries for name in re.findall(r"callbox_\w+", query)}
assert named <= served, f"not served: {sorted(named - served)}"
assert len(named) > 25

# Labels, too: each value that a query picks has to be one that is served.
series = {}
for name in named:
    for labels in ask("series", **{"match[]": name}):
        for label, value in labels.items():
            series.setdefault((name, label), set()).add(value)
for where, query in queries:
    for name, selector in re.findall(r"(callbox_\w+)\{([^}]*)\}", query):
        for label, operator, value in re.findall(r'(\w+)(=~|!=|=)"([^"]*)"', selector):
            known = series.get((name, label), set())
            for wanted in value.split("|") if operator == "=~" else [value]:
                if operator == "!=" or wanted == ".+":
                    continue
                # A code that nobody has been answered with yet is not served.
                assert wanted in known or label == "code", f"{where}: {name} has no {label}={wanted}, only {sorted(known)}"

for where, query in queries:
    # What an alert compares has to be there even while it is quiet.
    compared = re.split(r" (?:==|<|>|>=) [\d.]+(?: \* \d+)?$", query)[0] if where.startswith("alert") else query
    # A part of the traffic that does not exist has no share.
    compared = compared.replace(" > 0)", ")")
    result = ask("query", query=compared)["result"]
    quiet = "code=~" in query
    assert result or quiet, f"{where}: nothing for {compared}"
firing = [a["labels"]["alertname"] for a in ask("alerts")["alerts"] if a["state"] == "firing"]
assert not firing, firing
down = [t for t in ask("targets")["activeTargets"] if t["health"] != "up"]
assert not down, down
print(f"{len(queries)} queries, {len(named)} families")
