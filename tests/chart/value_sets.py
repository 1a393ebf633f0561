"""Value sets that between them go through every branch of the templates."""

from typing import Any

VALUE_SETS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "no auth": {"auth": {"mode": "none"}},
    "keys from an existing Secret": {"auth": {"existingSecret": "our-keys"}},
    "no client, no policy": {"client": {"enabled": False}, "networkPolicy": {"enabled": False}},
    "grown": {"replicas": 5, "initialMembers": 3},
    "another name": {"fullnameOverride": "ledger", "client": {"name": "watcher", "keyName": "ops"}},
    "all that is optional": {
        "image": {"registry": "localhost:5001", "tag": "0.1.0-test", "pullSecrets": ["registry-password"]},
        "storage": {"size": "10Gi", "className": "fast"},
        "service": {"type": "LoadBalancer", "annotations": {"example.org/internal": "true"}},
        "podAnnotations": {"example.org/team": "storage"},
        "podLabels": {"team": "storage"},
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "dedicated", "operator": "Equal", "value": "raft", "effect": "NoSchedule"}],
        "affinity": {
            "podAntiAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [
                    {
                        "topologyKey": "kubernetes.io/hostname",
                        "labelSelector": {"matchLabels": {"app.kubernetes.io/component": "server"}},
                    }
                ]
            }
        },
        "priorityClassName": "important",
        "networkPolicy": {
            "clients": [{"namespaceSelector": {"matchLabels": {"team": "shop"}}}],
            "http": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}],
        },
        "admin": {"enabled": True},
        "raft": {"faultInjection": True, "logLevel": "debug"},
    },
}
