"""What the files for Kubernetes, Compose and cloud-init say, as far as it can be seen without them.

    python3 tests/deploy/manifests.py
"""

import json
import re
import tomllib

import yaml

passed = 0


def ok(what):
    global passed
    passed += 1
    print(f"         {what}", flush=True)


# --- Kubernetes

documents = list(yaml.safe_load_all(open("deploy/kubernetes.yaml")))
assert [d["kind"] for d in documents] == ["Namespace", "ConfigMap", "StatefulSet"]
settings = tomllib.loads(documents[1]["data"]["appliance.toml"])
assert settings["drain_timeout"] == "1h"
pod = documents[2]["spec"]["template"]
labels = documents[2]["spec"]["selector"]["matchLabels"]
assert labels.items() <= pod["metadata"]["labels"].items()
spec = pod["spec"]
(container,) = spec["containers"]
assert spec["hostNetwork"] is True and documents[2]["spec"]["replicas"] == 1
assert spec["terminationGracePeriodSeconds"] > 3600, "shorter than drain_timeout"
assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["runAsUser"] == 65532
security = container["securityContext"]
assert security["readOnlyRootFilesystem"] is True
assert security["capabilities"] == {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}
for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
    get = container[probe]["httpGet"]
    assert (get["host"], get["port"]) == ("127.0.0.1", 9090)
assert container["livenessProbe"]["httpGet"]["path"] == "/healthz", "a drain must not kill it"
assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
assert container["lifecycle"]["preStop"]["exec"]["command"] == ["/usr/local/bin/callbox", "drain"]
ports = {(p["containerPort"], p["protocol"]) for p in container["ports"]}
assert ports == {(443, "TCP"), (80, "TCP"), (3478, "TCP"), (3478, "UDP")}
mounts = {m["name"] for m in container["volumeMounts"]}
volumes = {v["name"] for v in spec["volumes"]}
claims = {c["metadata"]["name"] for c in documents[2]["spec"]["volumeClaimTemplates"]}
assert mounts == volumes | claims
ok("kubernetes.yaml: host network, probes, drain before the stop, no privileges")

# --- Compose

services = yaml.safe_load(open("compose.yaml"))["services"]
assert services["callbox"]["network_mode"] == "host" and "profiles" not in services["callbox"]
assert services["bridged"]["profiles"] == ["bridge"]
for service in services.values():
    assert service["read_only"] and service["cap_drop"] == ["ALL"] and service["cap_add"] == ["NET_BIND_SERVICE"]
    assert service["volumes"] == ["state:/var/lib/callbox"]
    assert service["logging"]["options"]["max-size"] and service["mem_limit"] and service["pids_limit"]
published = next(p for p in services["bridged"]["ports"] if p.endswith("/udp") and "-" in p)
relay = next(e for e in services["bridged"]["environment"] if "RELAY_PORTS" in e).split("=")[1]
assert published == f"{relay}:{relay}/udp", "what is relayed from is what is published"
ok("compose.yaml: both profiles bounded alike; the published relay range is the one in use")

# --- cloud-init

text = open("deploy/cloud-init.yaml").read()
assert text.startswith("## template: jinja\n#cloud-config\n")
for address, rendered in [("203.0.113.7", "203.0.113.7"), (None, "auto")]:
    filled = re.sub(r"\{\{ [\w.]+ \| default\('(\w+)'\) \}\}", lambda m: address or m[1], text)
    data = yaml.safe_load(filled)
    (file,) = data["write_files"]
    assert file["path"] == "/etc/callbox/appliance.toml"
    assert tomllib.loads(file["content"])["external_ip"] == rendered
    assert any("apt-get install" in line for line in data["runcmd"])
ok("cloud-init.yaml: becomes a valid configuration, with and without the cloud's address")

# --- the firewalls open what the sockets listen on

wanted = {"443", "80", "3478", "49152-65535"}
nftables = open("deploy/nftables.conf").read()
opened = re.findall(r"dport ([\d-]+) accept comment \"callbox", nftables)
assert set(opened) == wanted, opened
ufw = open("deploy/ufw.profile").read()
assert set(re.findall(r"[\d:]+", ufw.split("ports=")[1].replace(":", "-").replace("-", ":"))) == {
    w.replace("-", ":") for w in wanted
}
sockets = open("deploy/callbox.socket").read()
assert set(re.findall(r"^Listen\w+=(\d+)$", sockets, re.M)) == wanted - {"49152-65535"}
sysctl = open("deploy/sysctl.conf").read()
first, last = re.search(r"ip_local_port_range = (\d+) (\d+)", sysctl).groups()
assert int(first) > 3478 and int(last) < 49152, "the relay ports are kept free"
ok("nftables, ufw, the socket unit and the sysctl file agree on the ports")

# --- the second unit is the first one but for its name

def lines(path):
    body = open(path).read().split("[Unit]")[1].split("[Install]")[0]
    return [line for line in body.splitlines() if not line.startswith(("Description=", "#"))]


assert [l for l in lines("deploy/callbox.service") if l] == [l for l in lines("deploy/callbox@.service") if l]
ok("callbox.service and callbox@.service are the same")

# --- the dashboard

dashboard = json.load(open("deploy/dashboard.json"))
panels = [p for p in dashboard["panels"] if p["type"] != "row"]
assert len({p["id"] for p in dashboard["panels"]}) == len(dashboard["panels"])
taken = set()
for panel in dashboard["panels"]:
    g = panel["gridPos"]
    cells = {(x, y) for x in range(g["x"], g["x"] + g["w"]) for y in range(g["y"], g["y"] + g["h"])}
    assert not cells & taken and g["x"] + g["w"] <= 24, panel["title"]
    taken |= cells
assert all(target["expr"] for panel in panels for target in panel["targets"])
ok(f"dashboard.json: {len(panels)} panels that do not overlap")

print(f"{passed} passed")
