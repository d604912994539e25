"""The behaviour of the Kubernetes API on which the service relies, on a real server and on the fake."""

import asyncio
import base64
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from tests.harness.cluster import Cluster
from tests.harness.kube import GROUP, TEAMS, VERSION, Answer, Document, Kube
from tests.harness.real_cluster import RealCluster
from tests.harness.waiting import until

SLACK = {"type": "slack", "credentialsSecret": "slack-credentials"}
ENTRY = {
    "name": "slack-0",
    "type": "slack",
    "target": "secret/slack-credentials",
    "deliveredAt": "2026-01-01T00:00:00Z",
    "success": True,
    "phase": "Delivered",
    "reason": "HTTPStatus",
    "message": "ok",
    "httpStatus": 200,
    "attempts": 1,
    "timestamp": "2026-01-01T00:00:00Z",
    "id": "msg_1",
    "claimedBy": "me",
    "claimedUntil": "2026-01-01T00:02:00Z",
    "retryAt": "2026-01-01T00:03:00Z",
    "takeovers": 0,
    "redeliveries": 0,
    "accepted": ["ada@example.com"],
}
DEFAULTS = {"timeout": "4h", "maxRestarts": 3, "onComplete": "notify"}
"""What a `lifecycle` has that says nothing."""
FIVE = {
    "type": "slack",
    "target": "#reports",
    "deliveredAt": "2026-01-01T00:00:00Z",
    "success": False,
    "error": "HTTPStatus: 404",
}
"""An entry of the operator's."""


class Team:
    """A new team for one test, named `report`."""

    def __init__(self, kube: Kube, namespace: str) -> None:
        self.kube = kube
        self.namespace = namespace

    async def read(self) -> Document:
        body: Document = (await self.kube.get(TEAMS, self.namespace, "report")).body
        return body

    async def version(self) -> str:
        return str((await self.read())["metadata"]["resourceVersion"])

    async def patch(self, body: Any, **how: Any) -> Answer:
        return await self.kube.patch(TEAMS, self.namespace, "report", body, **how)

    async def patch_status(self, status: Document, **metadata: Any) -> Answer:
        return await self.patch({"metadata": metadata, "status": status}, subresource="status")

    async def put_status(self, body: Document) -> Answer:
        return await self.kube.put(TEAMS, self.namespace, "report", body, subresource="status")


@pytest.fixture
async def kube(cluster: Cluster[Any]) -> Kube:
    return cluster.kube


@pytest.fixture
async def team(kube: Kube) -> Team:
    namespace = await kube.fresh_namespace()
    await kube.team(namespace, "report", {"lifecycle": {"onComplete": "deliver", "delivery": [SLACK]}})
    return Team(kube, namespace)


def assert_refused(answer: Answer, code: int, reason: str) -> None:
    """Check that an answer is the API's own `Status` with this code and reason."""
    assert answer.status == code, answer.body
    found = {key: answer.body[key] for key in ("kind", "status", "code", "reason")}
    assert found == {"kind": "Status", "status": "Failure", "code": code, "reason": reason}


class TestReading:
    """Objects that exist, and objects that do not."""

    async def test_every_answer_carries_the_servers_clock(self, team: Team) -> None:
        answer = await team.kube.get(TEAMS, team.namespace, "report")
        assert parsedate_to_datetime(answer.headers["Date"]).tzinfo is not None

    async def test_a_refusal_carries_the_servers_clock_too(self, team: Team) -> None:
        answer = await team.patch_status({"phase": "Running"}, resourceVersion="1")
        assert "Date" in answer.headers

    async def test_a_team_has_a_uid_a_version_and_a_generation(self, team: Team) -> None:
        metadata = (await team.read())["metadata"]
        assert {"uid", "resourceVersion", "generation", "creationTimestamp"} <= metadata.keys()
        assert metadata["namespace"] == team.namespace

    async def test_a_team_that_does_not_exist_is_404(self, team: Team) -> None:
        assert_refused(await team.kube.get(TEAMS, team.namespace, "nobody"), 404, "NotFound")

    async def test_a_recreated_team_has_another_uid(self, team: Team) -> None:
        before = (await team.read())["metadata"]["uid"]
        assert (await team.kube.delete(TEAMS, team.namespace, "report")).status == 200
        await team.kube.team(team.namespace, "report", {})
        assert (await team.read())["metadata"]["uid"] != before

    async def test_a_read_from_the_cache_has_the_same_form(self, team: Team) -> None:
        async def cached(name: str) -> Answer:
            path = team.kube.path(TEAMS, team.namespace, name)
            return await team.kube.request("GET", path, params={"resourceVersion": "0"})

        now = await team.read()

        async def known() -> bool:
            answer = await cached("report")
            return answer.status == 200 and bool(answer.body == now)

        await until(known)
        assert_refused(await cached("nobody"), 404, "NotFound")

    async def test_a_group_that_no_crd_defines_is_404(self, kube: Kube) -> None:
        assert (await kube.request("GET", "/apis/nobody.example.com/v1/agentteams")).status == 404

    async def test_a_resource_that_no_crd_defines_is_404(self, kube: Kube) -> None:
        assert (await kube.request("GET", f"/apis/{GROUP}/{VERSION}/nothings")).status == 404

    async def test_an_unknown_token_is_401(self, cluster: Cluster[Any]) -> None:
        stranger = Kube(cluster.kubeconfig)
        stranger.token = "unknown"
        async with stranger:
            assert_refused(await stranger.list(TEAMS), 401, "Unauthorized")

    async def test_the_server_reports_that_it_is_ready_and_its_version(self, kube: Kube) -> None:
        assert (await kube.request("GET", "/readyz")).body == "ok"
        assert (await kube.request("GET", "/version")).body["major"] == "1"


class TestCreating:
    """What the API stores of a new team."""

    async def test_on_complete_is_notify_by_default(self, kube: Kube) -> None:
        made = await kube.team(await kube.fresh_namespace(), "report", {"lifecycle": {"delivery": [SLACK]}})
        assert made["spec"]["lifecycle"]["onComplete"] == "notify"

    async def test_status_is_dropped(self, kube: Kube) -> None:
        body = kube.team_document("report", {}) | {"status": {"phase": "Completed"}}
        answer = await kube.create(TEAMS, await kube.fresh_namespace(), body)
        assert answer.status == 201
        assert "status" not in answer.body

    async def test_an_unknown_field_of_a_target_is_dropped(self, kube: Kube) -> None:
        spec = {"lifecycle": {"delivery": [SLACK | {"surprise": 1}]}}
        made = await kube.team(await kube.fresh_namespace(), "report", spec)
        assert made["spec"]["lifecycle"]["delivery"] == [SLACK]

    async def test_null_equals_an_absent_field(self, kube: Kube) -> None:
        spec = {"lifecycle": {"onComplete": None, "delivery": [SLACK | {"message": None}]}}
        made = await kube.team(await kube.fresh_namespace(), "report", spec)
        assert made["spec"]["lifecycle"] == DEFAULTS | {"delivery": [SLACK]}

    async def test_the_operators_own_fields_are_kept(self, kube: Kube) -> None:
        spec = {
            "auth": {"oauthSecret": "model"},
            "lead": {"model": "opus", "prompt": "Plan it.", "tools": ["shell"]},
            "teammates": [
                {"name": "writer", "prompt": "Write it.", "outputs": [{"path": "/workspace/output/a.md"}]}
            ],
            "workspace": {"output": {"mountPath": "/workspace/output", "size": "1Gi"}},
            "repository": {"url": "https://git.example.com/report"},
            "coordination": {"mode": "queue"},
            "qualityGates": {"tests": True},
            "observability": {"level": 3},
            "harness": "claude-code",
            "lifecycle": DEFAULTS | {"onComplete": "none", "timeout": "1h"},
        }
        made = await kube.team(
            await kube.fresh_namespace(), "report", {**spec, "unheardOf": [1, {"two": None}]}
        )
        assert made["spec"] == spec

    async def test_every_type_of_target_is_stored_unchanged(self, kube: Kube) -> None:
        targets = [
            {"type": "webhook", "name": "hook", "url": "not even an address", "message": "{phase}"},
            SLACK | {"artifactPath": "*.md"},
            {"type": "email", "to": ["ada@example.com"], "subject": "Done"},
            {"type": "google-drive", "folder": "x" * 10_000},
        ]
        spec = {"lifecycle": {"onComplete": "deliver", "delivery": targets}}
        made = await kube.team(await kube.fresh_namespace(), "report", spec)
        assert made["spec"]["lifecycle"]["delivery"] == targets

    @pytest.mark.parametrize(
        "lifecycle",
        [
            pytest.param({"delivery": [{"type": "slack", "message": 3}]}, id="wrong-type"),
            pytest.param({"delivery": [{"type": "email", "to": "ada@example.com"}]}, id="text-for-list"),
            pytest.param({"delivery": [{"type": "pigeon"}]}, id="unknown-target-type"),
            pytest.param({"delivery": [{"name": "no-type"}]}, id="target-without-type"),
            pytest.param({"onComplete": "explode"}, id="unknown-on-complete"),
        ],
    )
    async def test_a_violation_of_the_schema_is_422(self, kube: Kube, lifecycle: Document) -> None:
        body = kube.team_document("report", {"lifecycle": lifecycle})
        assert_refused(await kube.create(TEAMS, await kube.fresh_namespace(), body), 422, "Invalid")

    async def test_a_second_team_with_the_same_name_is_409(self, team: Team) -> None:
        body = team.kube.team_document("report", {})
        assert_refused(await team.kube.create(TEAMS, team.namespace, body), 409, "AlreadyExists")

    async def test_in_a_namespace_that_does_not_exist_it_is_404(self, kube: Kube) -> None:
        assert_refused(await kube.create(TEAMS, "nowhere", kube.team_document("report", {})), 404, "NotFound")

    async def test_without_a_kind_it_is_400(self, kube: Kube) -> None:
        body = {"metadata": {"name": "report"}}
        assert_refused(await kube.create(TEAMS, await kube.fresh_namespace(), body), 400, "BadRequest")


class TestPatchingStatus:
    """How claims and outcomes are written to the ledger."""

    async def test_an_entry_is_stored_unchanged(self, team: Team) -> None:
        answer = await team.patch_status({"delivery": [ENTRY]})
        assert answer.status == 200
        assert answer.body["status"]["delivery"] == [ENTRY]
        assert await team.kube.delivery(team.namespace, "report") == [ENTRY]

    async def test_a_write_with_the_current_version_succeeds_and_creates_a_new_version(
        self, team: Team
    ) -> None:
        version = await team.version()
        answer = await team.patch_status({"delivery": [ENTRY]}, resourceVersion=version)
        assert answer.status == 200
        assert answer.body["metadata"]["resourceVersion"] == await team.version() != version

    async def test_a_write_with_a_stale_version_is_409(self, team: Team) -> None:
        version = await team.version()
        await team.patch_status({"phase": "Running"})
        answer = await team.patch_status({"delivery": [ENTRY]}, resourceVersion=version)
        assert_refused(answer, 409, "Conflict")
        assert await team.kube.delivery(team.namespace, "report") == []

    async def test_of_two_concurrent_writes_with_one_version_one_succeeds(self, team: Team) -> None:
        version = await team.version()
        claims = [
            team.patch_status({"delivery": [ENTRY | {"claimedBy": holder}]}, resourceVersion=version)
            for holder in ("one", "two", "three", "four")
        ]
        answers = await asyncio.gather(*claims)
        assert sorted(answer.status for answer in answers) == [200, 409, 409, 409]

    async def test_a_write_without_a_change_creates_no_version(self, team: Team) -> None:
        await team.patch_status({"delivery": [ENTRY]})
        version = await team.version()
        assert (await team.patch_status({"delivery": [ENTRY]})).status == 200
        assert await team.version() == version

    async def test_a_wrong_uid_is_ignored(self, team: Team) -> None:
        uid = (await team.read())["metadata"]["uid"]
        answer = await team.patch_status({"delivery": [ENTRY]}, uid="somebody-else")
        assert answer.status == 200
        assert answer.body["metadata"]["uid"] == uid

    async def test_spec_and_labels_are_ignored(self, team: Team) -> None:
        before = await team.read()
        body = {
            "metadata": {"labels": {"a": "b"}},
            "spec": {"lifecycle": None},
            "status": {"phase": "Running"},
        }
        answer = await team.patch(body, subresource="status")
        assert answer.status == 200
        assert answer.body["spec"] == before["spec"]
        assert "labels" not in answer.body["metadata"]
        assert answer.body["metadata"]["generation"] == before["metadata"]["generation"]

    async def test_the_whole_list_is_replaced(self, team: Team) -> None:
        await team.patch_status({"delivery": [ENTRY, ENTRY | {"name": "slack-1"}]})
        await team.patch_status({"delivery": [FIVE]})
        assert await team.kube.delivery(team.namespace, "report") == [FIVE]

    async def test_the_rest_of_the_status_is_unchanged(self, team: Team) -> None:
        status: Document = {
            "phase": "Completed",
            "startedAt": "2026-01-01T00:00:00Z",
            "completedAt": "2026-01-01T01:00:00Z",
            "estimatedCost": "4.50",
            "totalTokensUsed": 2**40,
            "tasks": {"total": 4, "completed": 2, "inProgress": 1, "pending": 1},
            "conditions": [
                {
                    "type": "Ready",
                    "status": "True",
                    "reason": "AllRun",
                    "message": "",
                    "lastTransitionTime": "2026-01-01T00:00:00Z",
                }
            ],
            "artifacts": [
                {
                    "name": "report.md",
                    "producedBy": "writer",
                    "producedAt": "2026-01-01T00:30:00Z",
                    "path": "/workspace/output/report.md",
                }
            ],
        }
        await team.patch_status({**status, "unheardOf": {"a": 1}})
        await team.patch_status({"delivery": [ENTRY]})
        assert (await team.read())["status"] == status | {"delivery": [ENTRY]}

    async def test_an_unknown_field_of_an_entry_is_dropped(self, team: Team) -> None:
        answer = await team.patch_status({"delivery": [FIVE | {"surprise": 1}]})
        assert answer.status == 200
        assert answer.body["status"]["delivery"] == [FIVE]

    @pytest.mark.parametrize(
        "entry",
        [
            pytest.param(ENTRY | {"attempts": "1"}, id="text-for-number"),
            pytest.param(ENTRY | {"attempts": 1.5}, id="fraction"),
            pytest.param(ENTRY | {"attempts": True}, id="truth-for-number"),
            pytest.param(ENTRY | {"message": 1}, id="number-for-text"),
            pytest.param(ENTRY | {"deliveredAt": "yesterday"}, id="no-time"),
            *(
                pytest.param({key: ENTRY[key] for key in ENTRY if key != lacks}, id=f"without-{lacks}")
                for lacks in ("type", "success", "deliveredAt")
            ),
            pytest.param("slack-0", id="text-for-entry"),
        ],
    )
    async def test_a_violation_of_the_schema_is_422(self, team: Team, entry: Any) -> None:
        assert_refused(await team.patch_status({"delivery": [entry]}), 422, "Invalid")
        assert "status" not in await team.read()

    async def test_equal_entries_are_stored_in_their_order(self, team: Team) -> None:
        entries = [FIVE, ENTRY, FIVE, ENTRY]
        answer = await team.patch_status({"delivery": entries})
        assert (answer.status, answer.body["status"]["delivery"]) == (200, entries)

    async def test_a_team_that_does_not_exist_is_404(self, kube: Kube) -> None:
        nobody = Team(kube, await kube.fresh_namespace())
        assert_refused(await nobody.patch_status({"phase": "Running"}), 404, "NotFound")

    async def test_an_object_sent_as_json_patch_is_400(self, team: Team) -> None:
        answer = await team.patch(
            {"status": {}}, subresource="status", content_type="application/json-patch+json"
        )
        assert_refused(answer, 400, "BadRequest")

    @pytest.mark.parametrize("kind", ["application/json", "application/strategic-merge-patch+json"])
    async def test_an_unknown_type_of_patch_is_415(self, team: Team, kind: str) -> None:
        answer = await team.patch({"status": {}}, subresource="status", content_type=kind)
        assert_refused(answer, 415, "UnsupportedMediaType")

    async def test_a_writer_may_name_itself_and_ask_for_no_warning_of_dropped_fields(
        self, team: Team
    ) -> None:
        body = {"status": {"delivery": [ENTRY | {"unknown": 1}], "unknown": 2}}
        params = {"fieldManager": "agentteam-delivery", "fieldValidation": "Ignore"}
        answer = await team.patch(body, subresource="status", params=params)
        assert (answer.status, answer.body["status"]) == (200, {"delivery": [ENTRY]})
        assert "Warning" not in answer.headers


class TestReplacing:
    """How the operator writes, and how its writes affect the ledger."""

    async def test_a_status_put_with_the_ledger_keeps_it(self, team: Team) -> None:
        await team.patch_status({"delivery": [ENTRY]})
        body = await team.read()
        body["status"]["phase"] = "Completed"
        answer = await team.put_status(body)
        assert answer.status == 200
        assert answer.body["status"] == {"phase": "Completed", "delivery": [ENTRY]}

    async def test_a_status_put_without_the_ledger_drops_it(self, team: Team) -> None:
        await team.patch_status({"delivery": [ENTRY]})
        await team.put_status(await team.read() | {"status": {"phase": "Completed"}})
        assert (await team.read())["status"] == {"phase": "Completed"}

    async def test_a_status_put_does_not_change_the_spec(self, team: Team) -> None:
        before = await team.read()
        answer = await team.put_status(before | {"spec": {}, "status": {"phase": "Running"}})
        assert answer.body["spec"] == before["spec"]

    async def test_a_status_put_with_a_stale_version_is_409(self, team: Team) -> None:
        body = await team.read()
        await team.patch_status({"delivery": [ENTRY]})
        assert_refused(await team.put_status(body | {"status": {"phase": "Completed"}}), 409, "Conflict")

    async def test_a_put_with_another_uid_is_409(self, team: Team) -> None:
        body = await team.read()
        body["metadata"]["uid"] = "somebody-else"
        assert_refused(await team.put_status(body), 409, "Conflict")

    async def test_a_put_without_a_version_is_422(self, team: Team) -> None:
        body = await team.read()
        del body["metadata"]["resourceVersion"]
        assert_refused(await team.put_status(body), 422, "Invalid")

    async def test_a_put_of_the_team_does_not_change_its_status(self, team: Team) -> None:
        await team.patch_status({"delivery": [ENTRY]})
        before = await team.read()
        spec = {key: value for key, value in before["spec"].items() if key != "lifecycle"}
        answer = await team.kube.put(TEAMS, team.namespace, "report", before | {"spec": spec, "status": {}})
        assert (answer.body["spec"], answer.body["status"]) == (spec, {"delivery": [ENTRY]})

    async def test_a_changed_spec_has_a_new_generation(self, team: Team) -> None:
        await team.patch({"spec": {"lifecycle": {"onComplete": "none"}}})
        after = await team.read()
        assert after["spec"]["lifecycle"] == DEFAULTS | {"onComplete": "none", "delivery": [SLACK]}
        assert after["metadata"]["generation"] == 2

    async def test_a_team_whose_name_differs_from_the_url_is_400(self, team: Team) -> None:
        assert_refused(await team.patch({"metadata": {"name": "other"}}), 400, "BadRequest")


class TestWatching:
    """How the watcher learns of changes."""

    @pytest.fixture
    async def listed(self, team: Team) -> str:
        answer = await team.kube.list(TEAMS, team.namespace)
        return str(answer.body["metadata"]["resourceVersion"])

    async def test_a_list_has_its_kind_and_version(self, team: Team) -> None:
        body = (await team.kube.list(TEAMS, team.namespace)).body
        assert body["kind"] == "AgentTeamList"
        assert body["apiVersion"] == f"{GROUP}/{VERSION}"
        assert [item["metadata"]["name"] for item in body["items"]] == ["report"]
        assert int(body["metadata"]["resourceVersion"]) >= int(await team.version())

    async def test_a_list_of_all_namespaces_contains_the_teams_of_each(self, team: Team) -> None:
        elsewhere = await team.kube.fresh_namespace()
        await team.kube.team(elsewhere, "other", {})
        items = (await team.kube.list(TEAMS)).body["items"]
        places = {(item["metadata"]["namespace"], item["metadata"]["name"]) for item in items}
        assert {(team.namespace, "report"), (elsewhere, "other")} <= places

    async def test_a_list_of_a_namespace_that_does_not_exist_is_empty(self, kube: Kube) -> None:
        answer = await kube.list(TEAMS, "nowhere")
        assert (answer.status, answer.body["items"]) == (200, [])

    async def test_a_long_list_is_split_into_pages(self, team: Team) -> None:
        for number in range(4):
            await team.kube.team(team.namespace, f"team-{number}", {})
        names: list[str] = []
        token = ""
        while True:
            params: dict[str, str | int] = {"limit": 2} | ({"continue": token} if token else {})
            body = (await team.kube.list(TEAMS, team.namespace, **params)).body
            assert len(body["items"]) <= 2
            names += [item["metadata"]["name"] for item in body["items"]]
            if not (token := body["metadata"].get("continue", "")):
                break
        assert names == ["report", "team-0", "team-1", "team-2", "team-3"]

    async def test_a_watch_from_a_list_sees_later_changes(self, team: Team, listed: str) -> None:
        await team.kube.finish(team.namespace, "report")
        await team.kube.team(team.namespace, "other", {})
        await team.kube.delete(TEAMS, team.namespace, "other")
        events = await taken(3, team.kube.watch(TEAMS, team.namespace, resourceVersion=listed))
        assert [(event["type"], event["object"]["metadata"]["name"]) for event in events] == [
            ("MODIFIED", "report"),
            ("ADDED", "other"),
            ("DELETED", "other"),
        ]
        assert events[0]["object"]["status"]["phase"] == "Completed"
        versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in events]
        assert versions == sorted(set(versions))

    async def test_a_running_watch_sees_changes(self, team: Team, listed: str) -> None:
        watching = asyncio.create_task(
            taken(1, team.kube.watch(TEAMS, team.namespace, resourceVersion=listed))
        )
        await asyncio.sleep(0.1)
        assert not watching.done()
        await team.patch_status({"phase": "Running"})
        assert (await watching)[0]["object"]["status"] == {"phase": "Running"}

    async def test_a_watch_of_one_namespace_sees_no_other(self, team: Team, listed: str) -> None:
        elsewhere = await team.kube.fresh_namespace()
        await team.kube.team(elsewhere, "other", {})
        await team.patch_status({"phase": "Running"})
        events = await taken(1, team.kube.watch(TEAMS, team.namespace, resourceVersion=listed))
        assert events[0]["object"]["metadata"]["name"] == "report"

    async def test_a_watch_of_all_namespaces_sees_each(self, team: Team, listed: str) -> None:
        elsewhere = await team.kube.fresh_namespace()
        await team.kube.team(elsewhere, "other", {})
        await team.patch_status({"phase": "Running"})
        events = await taken(2, team.kube.watch(TEAMS, resourceVersion=listed))
        assert [event["object"]["metadata"]["name"] for event in events] == ["other", "report"]

    async def test_a_watch_without_a_version_starts_with_existing_objects(self, team: Team) -> None:
        events = await taken(1, team.kube.watch(TEAMS, team.namespace))
        assert (events[0]["type"], events[0]["object"]["metadata"]["name"]) == ("ADDED", "report")

    async def test_a_watch_ends_after_its_timeout(self, team: Team, listed: str) -> None:
        watch = team.kube.watch(TEAMS, team.namespace, resourceVersion=listed, timeoutSeconds=1)
        async with asyncio.timeout(4):
            assert [event async for event in watch] == []

    async def test_bookmarks_can_be_requested(self, team: Team, listed: str) -> None:
        params: dict[str, str | int] = {
            "resourceVersion": listed,
            "timeoutSeconds": 1,
            "allowWatchBookmarks": "true",
        }
        events = [event async for event in team.kube.watch(TEAMS, team.namespace, **params)]
        for event in events:  # the server may send none
            assert event["type"] == "BOOKMARK"
            assert int(event["object"]["metadata"]["resourceVersion"]) >= int(listed)

    async def test_a_watch_from_a_compacted_version_is_410_as_an_event(self, team: Team) -> None:
        events = [event async for event in team.kube.watch(TEAMS, team.namespace, resourceVersion=1)]
        assert [(event["type"], event["object"]["code"]) for event in events] == [("ERROR", 410)]
        assert events[0]["object"]["reason"] == "Expired"


class TestSecrets:
    """The source of credentials."""

    async def test_a_value_is_returned_as_base64(self, kube: Kube) -> None:
        namespace = await kube.fresh_namespace()
        await kube.secret(namespace, "slack-credentials", {"slack-webhook-url": "https://…", "raw": b"\xff"})
        data = (await kube.get("secrets", namespace, "slack-credentials")).body["data"]
        assert {key: base64.b64decode(value) for key, value in data.items()} == {
            "slack-webhook-url": "https://…".encode(),
            "raw": b"\xff",
        }

    async def test_string_data_is_merged_into_data(self, kube: Kube) -> None:
        body = {"metadata": {"name": "s"}, "stringData": {"a": "text"}, "data": {"a": "eA==", "b": "eQ=="}}
        made = (await kube.create("secrets", await kube.fresh_namespace(), body)).body
        assert made["data"] == {"a": base64.b64encode(b"text").decode(), "b": "eQ=="}
        assert "stringData" not in made

    async def test_a_secret_that_does_not_exist_is_404(self, kube: Kube) -> None:
        assert_refused(await kube.get("secrets", await kube.fresh_namespace(), "nothing"), 404, "NotFound")

    async def test_a_secret_can_be_replaced_and_deleted(self, kube: Kube) -> None:
        namespace = await kube.fresh_namespace()
        await kube.secret(namespace, "s", {"a": "1"})
        await kube.secret(namespace, "s", {"b": "2"})
        assert (await kube.get("secrets", namespace, "s")).body["data"].keys() == {"b"}
        assert (await kube.delete("secrets", namespace, "s")).status == 200
        assert (await kube.get("secrets", namespace, "s")).status == 404

    async def test_a_secret_in_a_namespace_that_does_not_exist_is_404(self, kube: Kube) -> None:
        assert_refused(await kube.create("secrets", "nowhere", {"metadata": {"name": "s"}}), 404, "NotFound")


class TestServerSideApply:
    """Why the service does not use it; tested on a real server only, since the fake does not support it."""

    APPLY = "application/apply-patch+yaml"

    @pytest.fixture
    async def team(self, real_cluster: Cluster[RealCluster]) -> Team:
        kube = real_cluster.kube
        namespace = await kube.fresh_namespace()
        await kube.team(namespace, "report", {})
        return Team(kube, namespace)

    async def apply(self, team: Team, entry: Document, manager: str) -> Answer:
        """Apply one entry of the ledger."""
        body = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": "AgentTeam",
            "metadata": {"name": "report"},
            "status": {"delivery": [entry]},
        }
        params = {"fieldManager": manager} if manager else {}
        return await team.patch(body, subresource="status", content_type=self.APPLY, params=params)

    async def test_the_list_belongs_to_one_manager(self, team: Team) -> None:
        assert (await self.apply(team, ENTRY | {"name": "a"}, "one")).status == 200
        assert_refused(await self.apply(team, ENTRY | {"name": "b"}, "two"), 409, "Conflict")

    async def test_a_manager_replaces_its_whole_list(self, team: Team) -> None:
        await self.apply(team, ENTRY | {"name": "a"}, "one")
        assert (await self.apply(team, ENTRY | {"name": "b"}, "one")).status == 200
        ledger = await team.kube.delivery(team.namespace, "report")
        assert {entry["name"] for entry in ledger} == {"b"}

    async def test_without_a_manager_it_is_422(self, team: Team) -> None:
        assert_refused(await self.apply(team, {"name": "a"}, ""), 422, "Invalid")

    async def test_without_a_kind_it_is_400(self, team: Team) -> None:
        params = {"fieldManager": "one"}
        answer = await team.patch(
            {"status": {}}, subresource="status", content_type=self.APPLY, params=params
        )
        assert_refused(answer, 400, "BadRequest")

    async def test_a_team_that_does_not_exist_is_404(self, team: Team) -> None:
        nobody = Team(team.kube, await team.kube.fresh_namespace())
        assert_refused(await self.apply(nobody, {"name": "a"}, "one"), 404, "NotFound")


async def taken(count: int, events: AsyncIterator[Document]) -> list[Document]:
    """Take a number of events, without bookmarks."""
    found: list[Document] = []
    async for event in events:
        if event["type"] != "BOOKMARK":
            found.append(event)
        if len(found) == count:
            break
    return found
