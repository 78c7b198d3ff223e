"""Loki in three targets on object storage: one takes in, another finds, the bucket holds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
import yaml

from scripts import shipping
from tests.observability.storage_server import KEYS, make_bucket, running_storage

CONFIG = shipping.ROOT / "loki/scalable/loki.yaml"
TARGETS = ("write", "read", "backend")
BUCKET = "lines"
PATIENCE_SECONDS = 60.0


class Target(shipping.Program):
    """One process of it, as kubernetes/loki starts them."""

    def __init__(self, folder: Path, target: str, port: int, environment: dict[str, str]) -> None:
        folder.mkdir()
        super().__init__(
            ["loki", f"-config.file={CONFIG}", "-config.expand-env=true", f"-target={target}"],
            {**environment, "LOKI_DATA": str(folder), "LOKI_PORT": str(port)},
            folder / "loki.log",
        )
        self.url = f"http://127.0.0.1:{port}"

    def wait(self) -> None:
        """Until it is ready."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self._is_ready():
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.1)


@pytest.fixture(scope="module")
def storage() -> Iterator[str]:
    """A server that speaks S3, with the bucket."""
    if missing := shipping.missing():
        pytest.skip(f"not on PATH: {', '.join(missing)}; no scalable Loki was started")
    with running_storage() as url:
        make_bucket(url, BUCKET)
        yield url


@pytest.fixture(scope="module")
def targets(storage: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Target]]:
    """All three, ready."""
    folder = tmp_path_factory.mktemp("scalable")
    http, grpc, gossip = ({target: shipping.free_port() for target in TARGETS} for _ in range(3))
    common = {
        "LOKI_RULES": str(shipping.LOKI_RULES),
        "LOKI_MEMBERS": f"127.0.0.1:{gossip['write']}",
        "LOKI_BACKEND": f"http://127.0.0.1:{http['backend']}",
        "LOKI_S3_ENDPOINT": storage.removeprefix("http://"),
        "LOKI_S3_BUCKET": BUCKET,
        "LOKI_S3_ACCESS_KEY": KEYS["access_key"],
        "LOKI_S3_SECRET_KEY": KEYS["secret_key"],
        "LOKI_S3_INSECURE": "true",
        "ALERTMANAGER_URL": "http://127.0.0.1:9",
    }
    started = {
        target: Target(
            folder / target,
            target,
            http[target],
            common | {
                "LOKI_GRPC_PORT": str(grpc[target]),
                "LOKI_GOSSIP_PORT": str(gossip[target]),
            },
        )
        for target in TARGETS
    }  # fmt: skip
    with ExitStack() as stack:
        for target in started.values():
            target.launch()
            # Leaving the ring in order takes the last one 20 s, because nobody hears it.
            stack.callback(target.end, patience=0.1)
        for target in started.values():
            target.wait()
        yield started


def until(found: Any) -> Any:
    """What is found in the end."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (it := found()):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return it


def test_what_one_takes_in_another_finds(targets: dict[str, Target], storage: str) -> None:
    """Pushed to write, asked of read by its metadata; after a flush its chunk is in the bucket."""
    moment = time.time_ns()
    line = '{"event":"synthesis.finished"}'
    streams = [
        {
            "stream": {"app": "indextts", "event": "synthesis.finished"},
            "values": [[str(moment), line, {"request_id": "01M8HHW8MMDWMPN3EE6YCR1YHE"}]],
        }
    ]
    pushed = httpx.post(f"{targets['write'].url}/loki/api/v1/push", json={"streams": streams})
    assert pushed.status_code == 204, pushed.text

    def asked() -> list[dict[str, Any]]:
        answer = httpx.get(
            f"{targets['read'].url}/loki/api/v1/query_range",
            params={
                "query": '{app="indextts"} | request_id="01M8HHW8MMDWMPN3EE6YCR1YHE"',
                "start": moment - 10**10,
                "end": moment + 10**10,
            },
            timeout=30,
        )
        found: list[dict[str, Any]] = (
            answer.json()["data"]["result"] if answer.status_code == 200 else []
        )
        return found

    (stream,) = until(asked)
    assert stream["values"] == [[str(moment), line]]

    httpx.post(f"{targets['write'].url}/flush", timeout=30).raise_for_status()
    client = boto3.client(
        "s3",
        endpoint_url=storage,
        region_name=KEYS["region"],
        aws_access_key_id=KEYS["access_key"],
        aws_secret_access_key=KEYS["secret_key"],
    )
    chunks = until(lambda: client.list_objects_v2(Bucket=BUCKET, Prefix="fake/").get("Contents"))
    client.close()
    assert chunks


def test_the_backend_has_the_rules(targets: dict[str, Target]) -> None:
    """All groups of the file, of the one tenant, whatever else lies in their folder."""
    wanted = yaml.safe_load((shipping.LOKI_RULES / "fake/indextts.yaml").read_text("utf-8"))
    names = {group["name"] for group in wanted["groups"]}

    def loaded() -> bool:
        answer = httpx.get(f"{targets['backend'].url}/prometheus/api/v1/rules", timeout=10)
        if answer.status_code != 200:
            return False
        return {group["name"] for group in answer.json()["data"]["groups"]} == names

    until(loaded)


def test_it_is_configured_as_the_one_that_is_drilled() -> None:
    """But for where things are: on one disk there, in a bucket here, found by gossip."""
    one, many = (yaml.safe_load(path.read_text("utf-8")) for path in (shipping.LOKI_CONFIG, CONFIG))
    for place in ("common", "schema_config", "memberlist"):
        one.pop(place, None)
        many.pop(place)
    for place in ("http_listen_address", "grpc_listen_address"):
        one["server"].pop(place)
        assert "LOKI_ADDRESS" in many["server"].pop(place)
    assert (one["compactor"].pop("delete_request_store"), many["compactor"].pop(
        "delete_request_store")) == ("filesystem", "s3")  # fmt: skip
    assert one["ruler"].pop("ring") == {"kvstore": {"store": "inmemory"}}
    assert many["ruler"].pop("enable_sharding") is True
    assert many == one
