"""Keys: made in the cluster by a hook, and each pod sees those it needs."""

import pytest

from raft_zmq.transport import keys

PUBLIC = {"service.public", "clients.yaml", *(f"peer.raft-{i}.public" for i in range(7))}


def secret_items(pod, volume_name):
    """File in the volume → key in the Secret, and the Secret's name."""
    (volume,) = (volume for volume in pod["volumes"] if volume["name"] == volume_name)
    (secret,) = (source["secret"] for source in volume["projected"]["sources"] if "secret" in source)
    return {item["path"]: item["key"] for item in secret["items"]}, secret["name"]


@pytest.mark.parametrize("number", range(7))
def test_a_node_sees_its_own_secret_and_no_other_nodes(render, number):
    items, _ = secret_items(render()["StatefulSet", "raft"]["spec"]["template"]["spec"], "config")
    folder = f"raft-{number}/keys/"
    seen = {path.removeprefix(folder) for path in items if path.startswith(folder)}
    assert seen == PUBLIC | {"service.secret", f"peer.raft-{number}.secret"}


def test_a_node_loads_its_keys_from_its_own_folder(render, tmp_path):
    keys.generate(tmp_path / "secret", [f"raft-{i}" for i in range(7)], {"lab": keys.Role.ADMIN})
    items, _ = secret_items(render()["StatefulSet", "raft"]["spec"]["template"]["spec"], "config")
    for path, key in items.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes((tmp_path / "secret" / key).read_bytes())
    loaded = keys.load_node_keys(tmp_path / "raft-1" / "keys", "raft-1")
    assert set(loaded.peers) == {f"raft-{i}" for i in range(7)}


def test_a_key_keeps_its_name_on_the_way_into_the_pod(render):
    items, _ = secret_items(render()["StatefulSet", "raft"]["spec"]["template"]["spec"], "config")
    assert all(path.endswith(f"/keys/{key}") for path, key in items.items())


@pytest.mark.parametrize("pod", ["client", "raft-test"])
def test_a_client_sees_its_own_pair_and_the_clusters_public_key(render, pod):
    items, _ = secret_items(render()["Pod", pod]["spec"], "client-config")
    assert set(items) == {"keys/service.public", "keys/client.lab.public", "keys/client.lab.secret"}


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
        *("keys", "generate", "--kubernetes-secret", "raft-keys"),
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
