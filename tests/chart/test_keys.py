"""Keys: made in the cluster by a hook, and each pod sees those it needs."""

import shutil

import pytest
import yaml

from raft_zmq.transport import key_rotation, keys

NODES = [f"raft-{i}" for i in range(7)]
SHARED = {"service.secret", "service.public", "clients.yaml"}
MAY_BE_ABSENT = {f"service.{place}.public" for place in ("next", "old")} | {
    f"peer.{node}{place}.public" for node in NODES for place in ("", ".next", ".old")
}


def sources(pod, volume_name):
    """The sources of the volume that are Secrets."""
    (volume,) = (volume for volume in pod["volumes"] if volume["name"] == volume_name)
    return [source["secret"] for source in volume["projected"]["sources"] if "secret" in source]


def secret_items(pod, volume_name):
    """File in the volume → key in the Secret, and the Secret's name."""
    (name,) = {source["name"] for source in sources(pod, volume_name)}
    return {item["path"]: item["key"] for source in sources(pod, volume_name) for item in source["items"]}, name


def server_pod(manifests):
    return manifests["StatefulSet", "raft"]["spec"]["template"]["spec"]


@pytest.mark.parametrize("node", NODES)
def test_a_node_sees_its_own_secret_and_no_other_nodes(render, node):
    pod = server_pod(render())
    items, _ = secret_items(pod, "config")
    assert {path for path in items if path.startswith(f"{node}/")} == {f"{node}/own/peer.{node}.secret"}
    (mount,) = (m for m in pod["containers"][0]["volumeMounts"] if m["name"] == "config")
    assert mount["subPathExpr"] == "$(POD_NAME)"
    assert set(secret_items(pod, "keys")[0]) == SHARED | MAY_BE_ABSENT


def test_the_shared_keys_change_under_a_running_pod(render):
    (mount,) = (m for m in server_pod(render())["containers"][0]["volumeMounts"] if m["name"] == "keys")
    assert not {"subPath", "subPathExpr"} & set(mount), "Kubernetes does not update a mount of a part"


def test_a_revoked_node_keeps_no_pod_from_starting(render):
    pod = server_pod(render())
    required = [source for name in ("keys", "config") for source in sources(pod, name) if not source.get("optional")]
    assert {item["key"] for source in required for item in source["items"]} == SHARED


def test_a_node_loads_its_keys_where_the_settings_say(render, tmp_path):
    """With what is in the Secret before, during and after a change of the node's own key."""
    folder = tmp_path / "secret"
    keys.generate(folder, NODES, {"lab": keys.Role.ADMIN})
    for step in (None, *key_rotation.Step):
        if step:
            key_rotation.take(step, folder, "peer.raft-1")
        for volume in ("config", "keys"):
            shutil.rmtree(tmp_path / volume, ignore_errors=True)
            for path, key in secret_items(server_pod(render()), volume)[0].items():
                if (folder / key).exists():
                    (tmp_path / volume / path).parent.mkdir(parents=True, exist_ok=True)
                    (tmp_path / volume / path).write_bytes((folder / key).read_bytes())
        loaded = keys.load_node_keys(tmp_path / "keys", "raft-1", tmp_path / "config" / "raft-1" / "own")
        assert set(loaded.peers) == set(NODES)
    settings = yaml.safe_load(render()["ConfigMap", "raft"]["data"]["founder.yaml"])
    assert (settings["keys_dir"], settings["own_key_dir"]) == ("/etc/raft-keys", "/etc/raft/own")


def test_a_key_keeps_its_name_on_the_way_into_the_pod(render):
    for volume in ("config", "keys"):
        items, _ = secret_items(server_pod(render()), volume)
        assert all(path.rpartition("/")[2] == key for path, key in items.items())


@pytest.mark.parametrize("pod", ["client", "raft-test"])
def test_a_client_sees_its_own_pair_and_the_clusters_public_key(render, pod):
    items, _ = secret_items(render()["Pod", pod]["spec"], "client-config")
    assert set(items) == {
        *("keys/service.public", "keys/service.next.public", "keys/service.old.public"),
        *("keys/client.lab.public", "keys/client.lab.secret"),
    }


def test_group_may_read_the_keys_and_others_may_not(render):
    manifests = render()
    for pod in (manifests["StatefulSet", "raft"]["spec"]["template"]["spec"], manifests["Pod", "client"]["spec"]):
        modes = {volume["projected"]["defaultMode"] for volume in pod["volumes"] if "projected" in volume}
        assert modes == {0o440}, "root owns the files, fsGroup is their group"
        assert pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsGroup"]


@pytest.mark.parametrize(("values", "name"), [({}, "raft-keys"), ({"auth": {"existingSecret": "ours"}}, "ours")])
def test_pods_take_the_secret_of_the_hook_or_the_users_own(render, values, name):
    manifests = render(values)
    assert secret_items(manifests["StatefulSet", "raft"]["spec"]["template"]["spec"], "config")[1] == name
    assert secret_items(manifests["Pod", "client"]["spec"], "client-config")[1] == name


def test_the_hook_makes_keys_for_every_node_there_can_be(render):
    (container,) = render({"maxNodes": 3})["Job", "raft-keys"]["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["raftctl"]
    assert container["args"] == [
        *("keys", "generate", "--kubernetes-secret", "raft-keys", "--label", "app.kubernetes.io/instance=raft"),
        *("--nodes", "raft-0,raft-1,raft-2", "--client", "lab=admin"),
    ]


def test_the_hook_reads_one_secret_only_and_changes_none(render):
    rules = render()["Role", "raft-keys"]["rules"]
    limited = [rule for rule in rules if "resourceNames" in rule]
    unlimited = [rule for rule in rules if "resourceNames" not in rule]
    assert [(rule["resourceNames"], rule["verbs"]) for rule in limited] == [(["raft-keys"], ["get"])]
    assert [rule["verbs"] for rule in unlimited] == [["create"]], "only create cannot be limited to a name"
    assert {resource for rule in rules for resource in rule["resources"]} == {"secrets"}


def test_the_hooks_rights_end_with_it(render):
    for kind in ("Job", "Role", "RoleBinding", "ServiceAccount"):
        annotations = render()[kind, "raft-keys"]["metadata"]["annotations"]
        assert annotations["helm.sh/hook"] == "pre-install,pre-upgrade", kind
        assert "hook-succeeded" in annotations["helm.sh/hook-delete-policy"], kind


def test_the_hooks_rights_are_there_before_its_job(render):
    def weight(kind):
        return int(render()[kind, "raft-keys"]["metadata"]["annotations"]["helm.sh/hook-weight"])

    assert max(weight("Role"), weight("ServiceAccount")) < weight("RoleBinding") < weight("Job")


def test_no_secret_is_part_of_the_release(render):
    assert not [name for kind, name in render() if kind == "Secret"]


def test_without_auth_no_pod_mounts_a_key(render):
    assert "keys" not in str(render({"auth": {"mode": "none"}})["StatefulSet", "raft"])
