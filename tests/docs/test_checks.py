"""Tests the checks of documents: they report a wrong block with its place, and accept a correct one."""

from pathlib import Path

import pytest

from tests.docs.blocks import Block, Row, blocks_of, rows_of, words_of
from tests.docs.checks import Tools, console
from tests.docs.checks.api import faults_of_api_words, faults_of_preferences, faults_of_row
from tests.docs.checks.data import problems
from tests.docs.checks.every import judged
from tests.docs.checks.kubernetes import values
from tests.docs.checks.outputs import faults_of_test
from tests.docs.checks.shell import Unreadable, commands, session
from tests.docs.checks.words import faults_of_words, prose, unknown_values, unknown_words

HERE = "docs/how-to/invented.md"
EVENT = """-H 'content-type: application/json' -d '{"namespace": "research", "team": "report"}'"""
TEAM = """\
apiVersion: kagents.dev/v1alpha1
kind: AgentTeam
metadata: {name: report}
spec:
  auth: {apiKeySecret: api-key}
  lead: {model: opus, prompt: Write the report.}
  teammates: [{name: writer, prompt: Write it to the output folder.}]
  lifecycle:
    onComplete: deliver
    delivery:
      - {name: hook, type: webhook, url: https://hooks.example.com/x}
"""
WEBHOOK = (
    '{"event": "team.completed", "team": "report", "namespace": "research", "phase": "Completed",'
    ' "message": "Done.", "artifacts": []}'
)
PROBLEM = (
    '{"type": "urn:agentteam-delivery:team-not-found", "title": "No such team", "status": 404,'
    ' "detail": "there is none"}'
)
REPORT = (
    '{"namespace": "research", "team": "report", "uid": "1", "phase": "Skipped", "recorded": true,'
    ' "targets": []}'
)
PREVIEW = (
    '{"namespace": "research", "team": "report", "uid": "1", "phase": "Completed", "dryRun": "All",'
    ' "targets": []}'
)
LOGS = "kubectl logs -n agentteam-delivery -l app.kubernetes.io/name=agentteam-delivery"
NAMES = """\
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: research}
rules:
  - {apiGroups: [kagents.dev], resources: [agentteams/delivery], verbs: [get]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: caller, namespace: research}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: agentteam-delivery-caller}
subjects: [{kind: ServiceAccount, name: controller, namespace: ops}]
---
apiVersion: v1
kind: Secret
metadata: {name: hook, namespace: research}
stringData: {signing-secret: whsec_x}
---
apiVersion: v1
kind: Pod
metadata: {name: controller, namespace: ops}
spec:
  containers: [{name: main, image: example}]
  volumes:
    - name: token
      projected: {sources: [{serviceAccountToken: {audience: agentteam-delivery, path: token}}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: in, namespace: hooks}
spec:
  podSelector: {}
  ingress: [{from: [{podSelector: {matchLabels: {app.kubernetes.io/name: agentteam-delivery}}}]}]
"""
MONITOR = """\
apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata: {name: delivery}
spec:
  selector: {matchLabels: {app.kubernetes.io/name: agentteam-delivery}}
  podMetricsEndpoints: [{port: http}]
"""
REQUEST = (
    "POST /deliveries HTTP/1.1\nhost: 127.0.0.1:8080\ncontent-type: application/json\n\n"
    '{"namespace": "a", "team": "b"}\n'
)

RIGHT: dict[str, tuple[str, str]] = {
    "make, with a comment": ("console", "make setup   # and so on\n"),
    "a session in YAML": ("console", "$ kubectl get agentteam report -o yaml\nstatus:\n  phase: Completed\n"),
    "settings before a program": ("bash", "DELIVERY_AUTH=none .venv/bin/agentteam-delivery serve &\n"),
    "a here-document": ("bash", f"kubectl apply -f - <<'EOF'\n{TEAM}EOF\n"),
    "a substitution": (
        "console",
        f'curl -sS "http://127.0.0.1:8080/deliveries" -H "authorization: Bearer $(cat t)" {EVENT}\n',
    ),
    "a file that was made before": ("console", "echo x > token\ngrep x token\n"),
    "columns": ("console", "kubectl get agentteams -o custom-columns=NAME:.metadata.name,P:.status.phase\n"),
    "a patch": (
        "console",
        """kubectl patch agentteam a -p '{"spec": {"lifecycle": {"onComplete": "deliver"}}}'\n""",
    ),
    "a part of a lifecycle": ("yaml", "lifecycle:\n  delivery: [{type: slack, credentialsSecret: a}]\n"),
    "an onComplete alone": ("yaml", "spec: {lifecycle: {onComplete: notify}}\n"),
    "a loop": ("bash", "for name in a b; do\n  kubectl delete secret $name -n research\ndone\n"),
    "an address that is an example": ("console", "curl -s https://report.example.com/x -d '{}'\n"),
    "a dry run": ("console", f"curl -s 'http://127.0.0.1:8080/previews' {EVENT}\n"),
    "a test by its name": (
        "console",
        ".venv/bin/pytest tests/docs/test_checks.py::test_a_valid_block_passes\n",
    ),
    "names of the installation": (
        "console",
        (
            f"{LOGS} -c watcher | grep -E 'api_lost|answer'\n"
            "kubectl port-forward -n agentteam-delivery svc/agentteam-delivery :8081\n"
            "kubectl get deploy agentteam-delivery -n agentteam-delivery\n"
            "kubectl create token a -n ops --audience=agentteam-delivery\n"
            "kubectl create rolebinding a -n b --clusterrole=agentteam-delivery-caller --user=c\n"
            "kubectl create clusterrolebinding a --clusterrole=view --user=c\n"
            "kubectl auth can-i get agentteams/delivery\n"
        ),
    ),
    "names of others": (
        "console",
        (
            "kubectl logs archive-0 -n hooks -c archive\n"
            "kubectl exec my-controller -n ops -- sh -c ls\n"
            "kubectl port-forward -n hooks deployment/archive 9000\n"
            "kubectl logs -n monitoring -l app.kubernetes.io/name=prometheus\n"
            "kubectl create secret generic smtp -n agentteam-delivery --from-literal=password=x\n"
        ),
    ),
    "keys of a Secret": (
        "console",
        (
            "kubectl create secret generic a --from-literal=slack-webhook-url=x --from-literal=from=y\n"
            "echo x > signing-secret\nkubectl create secret generic a --from-file=url=signing-secret\n"
        ),
    ),
    "a receiver": ("console", "PORT=9 SIGNING_SECRETS=a python3 samples/receivers/receiver.py\n"),
    "names in manifests": ("yaml", NAMES),
    "a monitor of our pods": ("yaml", MONITOR),
    "a manifest": ("yaml", TEAM),
    "several manifests": ("yaml", f"{TEAM}---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: a}}\n"),
    "a part of a pod": ("yaml", "volumes:\n  - {name: token, emptyDir: {}}\n"),
    "variables of a container": ("yaml", "- name: DELIVERY_AUTH\n  value: none\n"),
    "values": ("yaml", "replicaCount: 3\n"),
    "rules": ("yaml", "groups: [{name: a, rules: [{alert: A, expr: up == 0}]}]\n"),
    "what webhooks get": ("json", WEBHOOK),
    "a problem": ("json", PROBLEM),
    "a report": ("json", REPORT),
    "a preview": ("json", PREVIEW),
    "an event": ("json", '{"namespace": "research", "team": "report", "redeliver": "failed"}'),
    "a line of the log": ("json", '{"event": "target_settled", "level": "info"}'),
    "a raw request": ("http", REQUEST),
    "a raw answer": ("http", "HTTP/1.1 202 Accepted\nlocation: /x\n"),
    "Python": ("python", "from app.domain.events import CompletionEvent\n\nawait CompletionEvent.go()\n"),
    "Go": ("go", "package main\n\nfunc main() {}\n"),
    "a part of Go": ("go", 'x := "a"\n'),
    "JavaScript": ("javascript", 'import { a } from "node:crypto";\nawait a();\n'),
    "TypeScript": ("typescript", "const a: string = await b<number>();\n"),
    "PromQL": ("promql", "rate(agentteam_delivery_deliveries_total[5m]) > 0\n"),
    "TOML": ("toml", "[a]\nb = 1\n"),
    "a table of contents": ("{toctree}", ":maxdepth: 1\n\noperate\nMail <email-and-google-drive>\n"),
    "a drawing": ("text", " a ──▶ b\n       │\n       ▼\n       c ▶ d\n"),
}

WRONG: dict[str, tuple[str, str, int, str]] = {
    # The language, the text, the line of the document that is reported (the first is 7), and the message.
    "no language": ("", "make test\n", 7, "write it after the three back ticks"),
    "a language without a judge": ("cobol", "STOP RUN.\n", 7, "nothing judges a block of cobol"),
    "a quote that is open": ("console", "make setup\necho 'a\n", 8, "unexpected EOF"),
    "an unknown program": (
        "console",
        "make setup\nfrobnicate --all\n",
        8,
        "there is no check for frobnicate",
    ),
    "a program behind a pipe": ("console", "cat README.md |\n  frobnicate\n", 8, "no check for frobnicate"),
    "a program in a substitution": ("console", 'echo "a $(frobnicate)"\n', 7, "no check for frobnicate"),
    "a program of a loop": ("bash", "while true; do frobnicate; done\n", 7, "no check for frobnicate"),
    "a target of make": ("console", "make setup\nmake tests\n", 8, "no target tests"),
    "a variable of make": ("console", "make lock FLAGS=1\n", 7, "no variable FLAGS"),
    "a command of ours": ("console", "agentteam-delivery sent report\n", 7, "has no command sent"),
    "an option of ours": ("console", "agentteam-delivery status report --follow\n", 7, "--follow"),
    "an argument of ours": (
        "console",
        "agentteam-delivery deliver -n research\n",
        7,
        "Missing parameter: team",
    ),
    "a choice of ours": ("console", "agentteam-delivery status report -o xml\n", 7, "'xml' is not one of"),
    "a setting": ("console", "DELIVERY_AUHT=none make run\n", 7, "there is no setting DELIVERY_AUHT"),
    "a setting, exported": ("console", "export DELIVERY_AUHT=none\n", 7, "there is no setting DELIVERY_AUHT"),
    "a setting's value": ("console", "DELIVERY_AUTH=nobody agentteam-delivery serve\n", 7, "DELIVERY_AUTH"),
    "settings that contradict": (
        "console",
        "DELIVERY_AUTH=none DELIVERY_HOST=0.0.0.0 agentteam-delivery serve\n",
        7,
        "DELIVERY_ALLOW_ANYONE",
    ),
    "an option of kubectl": ("console", "kubectl get pods --namspace a\n", 7, "unknown flag: --namspace"),
    "a command of kubectl": (
        "console",
        "make setup\nkubectl \\\n  crate ns a\n",
        8,
        'unknown command "crate"',
    ),
    "a kind of resource": ("console", "kubectl get agenteam report\n", 7, "no kind of resource agenteam"),
    "a jsonpath": ("console", "kubectl get agentteams -o jsonpath='{.items'\n", 7, "unclosed action"),
    "a field of a team": (
        "console",
        "kubectl get agentteam a -o jsonpath='{.status.fase}'\n",
        7,
        "no field fase",
    ),
    "columns": ("console", "kubectl get agentteams -o custom-columns=NAME\n", 7, "a column is NAME:.path"),
    "a patch": (
        "console",
        """make run\nkubectl patch agentteam a -p '{"spec": {"lifecycle": {"onComplete": "delivr"}}}'\n""",
        8,
        "did you mean deliver?",
    ),
    "what kubectl creates": (
        "console",
        "kubectl create secret generic a --from-literal=b\n",
        7,
        "invalid literal",
    ),
    "a file for kubectl": (
        "console",
        "kubectl apply -f samples/absent.yaml\n",
        7,
        "samples/absent.yaml is not in",
    ),
    "a here-document's manifest": ("bash", "kubectl apply -f - <<EOF\nkind: Pod\nEOF\n", 7, "no manifest"),
    "an option of helm": (
        "console",
        "helm install a b --crate-namespace\n",
        7,
        "unknown flag: --crate-namespace",
    ),
    "a value of the chart": (
        "console",
        "make setup\nhelm upgrade a charts/agentteam-delivery --set replicas=2\n",
        8,
        "'replicas' not allowed",
    ),
    "a chart": ("console", "helm install a charts/delivery\n", 7, "charts/delivery is not in the repository"),
    "a path of the API": ("console", "curl -s http://127.0.0.1:8080/delivery\n", 7, "no path /delivery"),
    "a method of the API": (
        "console",
        "curl -X PUT http://127.0.0.1:8080/deliveries\n",
        7,
        "does not support PUT",
    ),
    "a body that is no JSON": (
        "console",
        "curl http://127.0.0.1:8080/deliveries -H 'content-type: application/json' -d '{'\n",
        7,
        "not JSON",
    ),
    "a field of the body": (
        "console",
        f"make run\ncurl http://127.0.0.1:8080/deliveries {EVENT.replace('team', 'name')}\n",
        8,
        "team: Field required",
    ),
    "a body without its type": (
        "console",
        "curl http://127.0.0.1:8080/deliveries -d '{}'\n",
        7,
        "takes application/json, not application/x-www-form-urlencoded",
    ),
    "no body": (
        "console",
        "curl -X POST http://127.0.0.1:8080/deliveries -H 'content-type: application/json'\n",
        7,
        "requires a body",
    ),
    "a parameter": (
        "console",
        f"curl http://127.0.0.1:8080/deliveries?dry=All {EVENT}\n",
        7,
        "no parameter dry",
    ),
    "an option of curl": (
        "console",
        "curl --slient http://127.0.0.1:8080/healthz\n",
        7,
        "unknown option --slient",
    ),
    "a real host": ("console", "curl -s https://delivery.io/x\n", 7, "delivery.io may be a real host"),
    "a file to post": (
        "console",
        "curl http://127.0.0.1:8080/deliveries -H 'content-type: application/json' -d @samples/x.json\n",
        7,
        "samples/x.json is not in the repository",
    ),
    "a file of tests": (
        "console",
        ".venv/bin/pytest tests/absent\n",
        7,
        "tests/absent is not in the repository",
    ),
    "a test": ("console", ".venv/bin/pytest tests/test_repo.py::test_absent\n", 7, "has no test test_absent"),
    "a module": ("console", ".venv/bin/python -m samples_absent\n", 7, "there is no module samples_absent"),
    "a script": (
        "console",
        "tests/harness/kubectl fetch\n.ci/absent\n",
        8,
        ".ci/absent is not in the repository",
    ),
    "an argument of the image": ("console", "docker build --build-arg EXTRAS=1 .\n", 7, "no argument EXTRAS"),
    "a verb of docker": ("console", "docker bild .\n", 7, "docker bild"),
    "a file of sed": ("console", "sed s/a/b/ samples/absent.yaml\n", 7, "samples/absent.yaml is not in"),
    "a pattern of grep": ("console", "cat README.md | grep -E 'a('\n", 7, "grep: a("),
    "a line that the log has not": (
        "console",
        f"make run\n{LOGS} | grep outcome_notrecorded\n",
        8,
        "the log has no line and no field outcome_notrecorded",
    ),
    "one of several lines": ("console", f"{LOGS} | grep -E 'api_gone|team_submitted'\n", 7, "field api_gone"),
    "a container": ("console", f"make run\n{LOGS} -c watchers\n", 8, "there is no container watchers"),
    "a pod's label in a command": (
        "console",
        "kubectl logs -n agentteam-delivery -l app.kubernetes.io/name=delivery\n",
        7,
        "there is no pod labelled app.kubernetes.io/name: delivery",
    ),
    "a Deployment": (
        "console",
        "make run\nkubectl rollout restart deployment/delivery -n agentteam-delivery\n",
        8,
        "there is no Deployment delivery",
    ),
    "a Deployment, in two words": (
        "console",
        "kubectl get deploy delivery -n agentteam-delivery\n",
        7,
        "there is no Deployment delivery",
    ),
    "a port": (
        "console",
        "kubectl port-forward -n agentteam-delivery deployment/agentteam-delivery 9090\n",
        7,
        "there is no port 9090",
    ),
    "a port behind another": (
        "console",
        "kubectl port-forward -n agentteam-delivery svc/agentteam-delivery 8080:80\n",
        7,
        "there is no port 80",
    ),
    "an audience": (
        "console",
        'make run\necho "$(kubectl create token a -n ops --audience agentteam)"\n',
        8,
        "there is no audience agentteam;",
    ),
    "a ClusterRole": (
        "console",
        "kubectl create rolebinding a -n b --clusterrole=agentteam-delivery-callers --user=c\n",
        7,
        "there is no ClusterRole agentteam-delivery-callers",
    ),
    "an unknown permission": (
        "console",
        "kubectl auth can-i create agentteams.kagents.dev --subresource=deliveries\n",
        7,
        "there is no agentteams/deliveries of kagents.dev",
    ),
    "a key of a Secret": (
        "console",
        "make run\nkubectl create secret generic a -n b --from-literal=slack-webhook=x\n",
        8,
        "there is no key of a Secret slack-webhook",
    ),
    "an unknown key next to a known one": (
        "console",
        "kubectl create secret generic a --from-literal=from=x --from-literal=smtp-server=y\n",
        7,
        "there is no key of a Secret smtp-server",
    ),
    "a key by its file's name": (
        "console",
        "echo x > signing_secret\nkubectl create secret generic a --from-file=signing_secret\n",
        8,
        "there is no key of a Secret signing_secret",
    ),
    "a variable of a receiver": (
        "console",
        'make run\nSIGNING_SECRET="$(cat README.md)" python3 samples/receivers/receiver.py\n',
        8,
        "samples/receivers/receiver.py does not read SIGNING_SECRET, but",
    ),
    "a variable of another receiver": (
        "console",
        "FOLDER=x go run samples/receivers/receiver.go\n",
        7,
        "samples/receivers/receiver.go does not read FOLDER",
    ),
    "a group of a rule": (
        "yaml",
        NAMES.replace("apiGroups: [kagents.dev]", "apiGroups: [kagents.io]"),
        7,
        "there is no agentteams/delivery of kagents.io",
    ),
    "a resource of a rule": (
        "yaml",
        NAMES.replace("agentteams/delivery]", "agentteams/deliveries]"),
        7,
        "there is no agentteams/deliveries of kagents.dev",
    ),
    "a verb of a rule": (
        "yaml",
        NAMES.replace("verbs: [get]", "verbs: [post]"),
        7,
        "there is no verb of agentteams/delivery post",
    ),
    "a role of a binding": (
        "yaml",
        NAMES.replace("agentteam-delivery-caller", "agentteam-caller"),
        7,
        "there is no ClusterRole agentteam-caller",
    ),
    "a key in a Secret": (
        "yaml",
        NAMES.replace("signing-secret", "signing-key"),
        7,
        "there is no key of a Secret signing-key",
    ),
    "an audience of a volume": (
        "yaml",
        NAMES.replace("audience: agentteam-delivery", "audience: delivery"),
        7,
        "there is no audience delivery",
    ),
    "a pod's label in a policy": (
        "yaml",
        NAMES.replace("io/name: agentteam-delivery", "io/name: delivery"),
        7,
        "there is no pod labelled app.kubernetes.io/name: delivery",
    ),
    "a pod's label in a monitor": (
        "yaml",
        MONITOR.replace("io/name: agentteam-delivery", "io/name: delivery"),
        7,
        "there is no pod labelled app.kubernetes.io/name: delivery",
    ),
    "a pod's label in values": (
        "yaml",
        "networkPolicy: {callers: [{podSelector: {matchLabels: {app.kubernetes.io/name: delivery}}}]}\n",
        7,
        "there is no pod labelled app.kubernetes.io/name: delivery",
    ),
    "an output that no test makes": ("console", "$ make test\nall is well\n", 8, "no test makes this output"),
    "a session's YAML": (
        "console",
        "$ kubectl get agentteam report -o yaml\nstatus:\n  delivery: [{name: a, fase: Failed}]\n",
        8,
        "status.delivery[0].fase: the CRD knows no such field",
    ),
    "invalid YAML": ("yaml", "a: 1\nb: [\n", 9, "not YAML"),
    "a key twice": (
        "yaml",
        "spec: {}\nreplicaCount: 1\nreplicaCount: 2\n",
        9,
        "replicaCount is a duplicate key",
    ),
    "YAML that is nothing of ours": ("yaml", "replicas: 2\n", 7, "this is no manifest"),
    "a team's onComplete": ("yaml", TEAM.replace(": deliver\n", ": delivr\n"), 7, "did you mean deliver?"),
    "a field of a target": ("yaml", TEAM.replace("url:", "uri:"), 7, "did you mean url?"),
    "a target's placeholder": (
        "yaml",
        '- {type: webhook, url: https://a.example, message: "{tema}"}\n',
        7,
        "{team}",
    ),
    "a target's type": ("yaml", "delivery:\n  - {type: webhok, url: https://a.example}\n", 7, "webhok"),
    "a part of the status": ("yaml", "status: {delivery: [{name: a, fase: Failed}]}\n", 7, "fase"),
    "a field of a Role": (
        "yaml",
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: a}\nrules: [{verb: [get]}]\n",
        7,
        "rules.0",
    ),
    "an unknown kind": (
        "yaml",
        "apiVersion: a.example/v1\nkind: B\nmetadata: {name: c}\n",
        7,
        "no check for B",
    ),
    "a certificate": (
        "yaml",
        "apiVersion: cert-manager.io/v1\nkind: Certificate\nmetadata: {name: a}\nspec: {secret: a}\n",
        7,
        "spec.secretName: is missing",
    ),
    "a pod's volume": (
        "yaml",
        "volumes:\n  - {name: a, secrets: {secretName: b}}\n",
        7,
        "'secrets' was unexpected",
    ),
    "a chart's value": ("yaml", "settings: {emial: smtp}\n", 7, "'emial' not allowed"),
    "a rule": (
        "yaml",
        "groups: [{name: a, rules: [{alert: A, expr: 'rate('}]}]\n",
        7,
        "could not parse expression",
    ),
    "invalid JSON": ("json", '{"a": 1,\n "b": }\n', 8, "not JSON"),
    "a JSON key twice": ("json", '{"team": "a", "team": "b"}\n', 7, "team is a duplicate key"),
    "JSON that is nothing of ours": ("json", '{"a": 1}\n', 7, "this is nothing that webhooks get"),
    "five keys": ("json", WEBHOOK.replace(', "artifacts": []', ""), 7, "exactly event, team, namespace"),
    "seven keys": ("json", WEBHOOK.replace("{", '{"id": "1", ', 1), 7, "exactly event, team, namespace"),
    "an event's name": (
        "json",
        WEBHOOK.replace("team.completed", "team.done"),
        7,
        "team.done is not an event",
    ),
    "a phase": ("json", WEBHOOK.replace('"Completed"', '"Done"'), 7, "Done is not a terminal phase"),
    "a field of an event": ("json", '{"namespace": "a", "team": "b", "redeliver": "some"}', 7, "redeliver"),
    "a problem's type": ("json", PROBLEM.replace("team-not-found", "no-team"), 7, "there is no problem"),
    "a problem's status": ("json", PROBLEM.replace("404", "410"), 7, "is 404 'No such team'"),
    "a field of a report": (
        "json",
        REPORT.replace("recorded", "record"),
        7,
        "record: there is no such field",
    ),
    "a report's phase": ("json", REPORT.replace("Skipped", "Done"), 7, "phase: "),
    "a preview's field": ("json", PREVIEW.replace("uid", "id"), 7, "uid: Field required"),
    "a line that is not logged": (
        "json",
        '{"event": "target_setled", "level": "info"}',
        7,
        "no line target_setled",
    ),
    "a raw request's path": ("http", REQUEST.replace("/deliveries", "/deliver"), 7, "no path /deliver"),
    "a raw request's header": ("http", "GET /healthz HTTP/1.1\nhost 127.0.0.1\n", 8, "this is no header"),
    "a raw answer's body": ("http", "HTTP/1.1 200 OK\ncontent-type: application/json\n\n{\n", 10, "not JSON"),
    "invalid Python": ("python", "a = 1\nb = = 2\n", 8, "no Python"),
    "a name to import": (
        "python",
        "import os\nfrom app.domain.events import Completion\n",
        8,
        "app.domain.events has no Completion",
    ),
    "a module to import": ("python", "import agentteam_absent\n", 7, "there is no module agentteam_absent"),
    "invalid Go": ("go", "package main\n\nfunc main( {}\n", 9, "no Go"),
    "Go in another way": (
        "go",
        "package main\n\nfunc main()  {}\n",
        7,
        "gofmt would write it in another way",
    ),
    "invalid JavaScript": ("js", "const a = 1;\nconst = 2;\n", 8, "no JavaScript: SyntaxError"),
    "invalid TypeScript": ("ts", "const a: string = 1;\nconst : = 2;\n", 8, "no TypeScript"),
    "invalid PromQL": ("promql", "rate(up[5m)\n", 7, "could not parse expression"),
    "invalid TOML": ("toml", "a =\n", 7, "no TOML"),
    "a Dockerfile": ("dockerfile", "FROM a:1\nRUN cd /x && ls | wc\n", 8, "DL"),
    "a document of the contents": ("{toctree}", "operate\nabsent\n", 8, "there is no document absent"),
    "a drawing's arrow": ("text", " a ──▶ b\n\n       ▼\n", 9, "▼ in column 8 leads to nothing"),
    "a drawing's line": ("text", " ┌──▶ b\n\n a\n", 7, "┌ in column 2 leads to nothing"),
    "text that is no drawing": ("text", "Done in 4 s\n", 7, "no test makes this output"),
}


@pytest.mark.parametrize("case", RIGHT)
def test_a_valid_block_passes(case: str, tools: Tools) -> None:
    language, text = RIGHT[case]
    assert judged(Block(HERE, 7, language, "Invented", text), tools) == []


@pytest.mark.parametrize("case", WRONG)
def test_an_invalid_block_is_reported_with_its_place(case: str, tools: Tools) -> None:
    language, text, line, says = WRONG[case]
    found = judged(Block(HERE, 7, language, "Invented", text), tools)
    assert any(said.startswith(f"{HERE}:{line}: ") and says in said for said in found), found


def test_blocks_are_found_in_every_context() -> None:
    text = """\
# One

- a list

  ```console
  make test
  ```

> ```json
> {}
> ```

## Two

~~~
nothing
~~~

    indented
"""
    assert list(blocks_of("a.md", text)) == [
        Block("a.md", 6, "console", "One", "make test\n"),
        Block("a.md", 10, "json", "One", "{}\n"),
        Block("a.md", 16, "", "Two", "nothing\n"),
        Block("a.md", 19, "", "Two", "indented\n"),
    ]


def test_code_spans_are_found_in_paragraphs_lists_and_tables() -> None:
    text = "# A\n\nThe `one`\n\n- ``two ` ticks``\n\n| a |\n|---|\n| `three` |\n"
    assert [(word.line, word.text) for word in words_of("a.md", text)] == [
        (3, "one"),
        (5, "two ` ticks"),
        (9, "three"),
    ]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("`agentteam_delivery_deliveries`", "there is no metric agentteam_delivery_deliveries"),
        ("rate(agentteam_delivery_atempts_total[5m])", "agentteam_delivery_atempts_total"),
        ("set `DELIVERY_EGRES_ALLOW`", "there is no setting DELIVERY_EGRES_ALLOW"),
        ("the watcher on 8082 says it", "the watcher is on 8081, not on 8082"),
        ("the service on 8081 says it", "the service is on 8080, not on 8081"),
        ("`urn:agentteam-delivery:not-there`", "there is no problem urn:agentteam-delivery:not-there"),
    ],
)
def test_an_unknown_name_of_ours_is_reported_everywhere(line: str, says: str) -> None:
    [said] = prose(HERE, f"# A\n\n{line}\n", frozenset(problems()))
    assert said.startswith(f"{HERE}:3: ")
    assert says in said


def test_known_names_pass() -> None:
    text = (
        "agentteam_delivery_target_seconds_bucket agentteam_delivery_watch_posts_total DELIVERY_TOKEN"
        " DELIVERY_SMTP_HOST DELIVERY_CRASH_AT `DELIVERY_` the watcher on 8081"
        " urn:agentteam-delivery:too-busy"
    )
    assert list(prose(HERE, text, frozenset(problems()))) == []


@pytest.mark.parametrize(
    "word", ["SecretKeyAbsent", "SecretNotFond", "TokenInvalid", "EgressDenid", "BudgetExceded"]
)
def test_an_unknown_reason_is_reported(word: str) -> None:
    assert list(unknown_words(word)) == [f"there is no reason and no phase {word}"]


@pytest.mark.parametrize("word", ["SecretNotFound", "BudgetExceeded", "PodMonitor", "CoreV1Api", "TEST"])
def test_known_reasons_and_foreign_words_pass(word: str) -> None:
    assert list(unknown_words(word)) == []


def test_unknown_chart_values_are_reported() -> None:
    assert list(unknown_values("settings.emial", values())) == ["the chart has no value settings.emial"]
    assert list(unknown_values("tls.name=a", values())) == ["the chart has no value tls.name"]
    for word in ("settings.email=smtp", "networkPolicy.callers", "spec.lifecycle", "settings.py"):
        assert list(unknown_values(word, values())) == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("ledger-not-kpt", "there is no problem ledger-not-kpt; did you mean ledger-not-kept?"),
        ("target_setled", "the log has no line target_setled; did you mean target_settled?"),
        ("app/absent.py", "app/absent.py is not in the repository"),
        ("settings.emial", "the chart has no value settings.emial"),
        ("SecretNotFond", "there is no reason and no phase SecretNotFond"),
    ],
)
def test_misspelt_names_are_reported_with_their_place(text: str, says: str) -> None:
    word = Block(HERE, 7, "", "Invented", text)
    assert list(faults_of_words(word, values(), problems())) == [f"{HERE}:7: {says}"]


@pytest.mark.parametrize(
    "text", ["ledger-not-kept", "team_submitted", "app/domain/events.py", "tests/docs/", "workload-low"]
)
def test_names_of_ours_and_of_others_pass(text: str) -> None:
    assert list(faults_of_words(Block(HERE, 7, "", "Invented", text), values(), problems())) == []


@pytest.mark.parametrize(
    "text",
    [
        "claim-gone",
        "uid-mismatch",
        "webhook-time",
        "Abandoned",
        "agentteamKey",
        "X-Nobody",
    ],
)
def test_code_spans_without_code_are_reported(text: str) -> None:
    [said] = faults_of_words(Block(HERE, 7, "", "Invented", text), values(), problems())
    assert said.startswith(f"{HERE}:7: {text} is not in the code")


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("tls_renewal_failed", False),
        ("grafana_dashboard", False),  # of the chart, not of the log
        ("tls_reload_failed", True),
        ("http_status", True),
        ("agentteam_delivery_watch_due", True),
    ],
)
def test_the_operators_page_names_only_events_and_fields_of_the_log(text: str, known: bool) -> None:
    found = list(faults_of_words(Block("docs/how-to/operate.md", 7, "", "", text), values(), problems()))
    said = f"docs/how-to/operate.md:7: the log has no line and no field {text}"
    assert found == ([] if known else [said])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("?dryRun=All", "knows no parameter dryRun"),
        ("POST /deliveries?dry=All", "knows no parameter dry"),
        ('"redeliver": "failing"', "redeliver: "),
        ('"event": "team.done"', "there is no event team.done"),
        ('"answer": 418', "there is no answer 418"),
        ('"problem": "ledger-lost"', "there is no problem ledger-lost"),
        ('"reason": "Lost"', "there is no reason Lost"),
        ('"cause": "claim-gone"', "there is no cause claim-gone"),
        ('"answer": nothing', "not JSON"),
        ('Secret "a" has no key "slack-webhook"; add it', "there is no key of a Secret slack-webhook"),
        ("--from-file=slack-webhook", "there is no key of a Secret slack-webhook"),
    ],
)
def test_unknown_words_of_the_api_are_reported_with_their_place(text: str, says: str) -> None:
    [said] = faults_of_api_words(Block(HERE, 7, "", "Invented", text))
    assert said.startswith(f"{HERE}:7: ")
    assert says in said


@pytest.mark.parametrize(
    "text",
    [
        *('"redeliver": "failed"', '"event": "team.test"', '"event": "target_settled"'),
        *('"answer": 503', '"problem": "too-busy"', '"phase": "Pending"', "--from-file=signing-secret"),
    ],
)
def test_known_words_of_the_api_pass(text: str) -> None:
    assert list(faults_of_api_words(Block(HERE, 7, "", "Invented", text))) == []


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("-H 'prefer: respond-asynch'", "not respond-asynch"),
        ("`Prefer: wait=soon` waits", "not wait=soon"),
        ('headers = {"prefer": "respond"}', "not respond"),
        ("fetch(url, {headers: {prefer: 'async'}})", "not async"),
        ("prefer: respond", "not respond"),
    ],
)
def test_an_unknown_preference_is_reported_everywhere(line: str, says: str) -> None:
    [said] = faults_of_preferences(HERE, f"# A\n\n{line}\n")
    assert said.startswith(f"{HERE}:3: prefer is respond-async or wait=10, ")
    assert says in said


def test_known_preferences_pass() -> None:
    text = "`prefer: respond-async`\n'Prefer: wait=7'\n`wait=N`; we prefer: tea\n"
    assert list(faults_of_preferences(HERE, text)) == []


@pytest.mark.parametrize(
    ("heading", "codes", "says"),
    [
        ("reason", ("SecretKeyAbsent",), "there is no reason SecretKeyAbsent"),
        ("cause", ("claim-gone",), "there is no cause claim-gone"),
        ("key", ("smtp-host", "smtp-crypt"), "there is no key smtp-crypt"),
        ("header", ("webhook-time",), "there is no header webhook-time"),
        ("header", ("authorization", "signing-secret"), "there is no header signing-secret"),
        ("answer", ("409", "uid-mismatch"), "there is no answer uid-mismatch"),
        ("answer", ("418",), "there is no answer 418"),
        ("answer", ("404", "uid-changed"), "uid-changed is 409"),
    ],
)
def test_a_table_row_with_an_unknown_name_is_reported(
    heading: str, codes: tuple[str, ...], says: str
) -> None:
    assert list(faults_of_row(Row(HERE, 7, heading, codes))) == [f"{HERE}:7: {says}"]


def test_a_table_row_is_read_by_its_first_column() -> None:
    text = "# A\n\n| `Cause` | b |\n|---|---|\n| `drain` or `timeout` | `c` |\n"
    text += "\n| answer | |\n|---|---|\n| `409` `uid-changed` | |\n"
    found = list(rows_of("a.md", text))
    assert found == [
        Row("a.md", 5, "cause", ("drain", "timeout")),
        Row("a.md", 9, "answer", ("409", "uid-changed")),
    ]
    assert [said for row in found for said in faults_of_row(row)] == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("make tests", "no target tests"),
        ("kubectl logs -n agentteam-delivery -c watchers", "there is no container watchers"),
        ("kubectl rollout restart deployment/delivery", "there is no Deployment delivery"),
        ("agentteam-delivery sent", "has no command sent"),
        ("agentteam-delivery status report --follow", "--follow"),
        ("kubectl apply --dryrun=server", "unknown flag: --dryrun"),
        ("helm tset", 'unknown command "tset"'),
        (".venv/bin/pytest tests/absent", "tests/absent is not in the repository"),
        ("A=1 tests/harness/absent build", "tests/harness/absent is not in the repository"),
    ],
)
def test_a_command_in_a_sentence_is_checked(text: str, says: str, tools: Tools) -> None:
    [said] = console.faults_of_words(Block(HERE, 7, "", "Invented", text), tools)
    assert said.startswith(f"{HERE}:7: ")
    assert says in said


@pytest.mark.parametrize(
    "text",
    ["kubectl logs", "docker build", "agentteam-delivery deliver", "helm test", "made; make one"],
)
def test_the_start_of_a_command_is_sufficient_in_a_sentence(text: str, tools: Tools) -> None:
    assert list(console.faults_of_words(Block(HERE, 7, "", "Invented", text), tools)) == []


def test_commands_are_parsed_as_a_shell_parses_them() -> None:
    text = """\
A=1 B='x y' one "two $(three 'a)b' | four)" \\
  --five=6 2>err | seven && eight # nine
ten <<'EOF'
| eleven
EOF
"""
    read = [(one.line, one.words, one.env, one.redirects, one.here) for one in commands(text)]
    assert read == [
        (0, ["three", "a)b"], {}, [], None),
        (0, ["four"], {}, [], None),
        (0, ["one", "two $(three 'a)b' | four)", "--five=6"], {"A": "1", "B": "x y"}, [("2>", "err")], None),
        (1, ["seven"], {}, [], None),
        (1, ["eight"], {}, [], None),
        (2, ["ten"], {}, [], "| eleven\n"),
    ]


@pytest.mark.parametrize("text", ["a 'b", 'a "b', "a $(b", "a <<EOF\nb\n"])
def test_an_unclosed_quote_is_not_a_command(text: str) -> None:
    with pytest.raises(Unreadable):
        commands(text)


def test_a_session_is_split_into_commands_and_outputs() -> None:
    typed = session("$ one \\\n  two\nprinted\n\n$ three <<EOF\n> four\nEOF\n")
    assert [(one.line, one.text, one.prints) for one in typed] == [
        (0, "one \\\n  two\n", "printed\n\n"),
        (4, "three <<EOF\nfour\nEOF\n", ""),
    ]
    with pytest.raises(Unreadable):
        session("printed\n$ one\n")


@pytest.mark.parametrize(
    ("test", "says"),
    [
        ("tests/absent.py::test_it", "does not exist"),
        ("tests/test_repo.py::test_absent", "does not exist"),
        ("tests/test_times.py::test_absent", "does not exist"),
        ("tests/test_repo.py::test_every_place_has_the_same_version", "names neither"),
    ],
)
def test_an_output_whose_test_does_not_make_it_is_reported(test: str, says: str) -> None:
    [said] = faults_of_test(test, HERE, "words that stand " + "nowhere\n")
    assert says in said


def test_a_missing_program_skips_a_test_and_fails_it_in_ci(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tools: Tools
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CI", "")
    with pytest.raises(pytest.skip.Exception, match="no gofmt: install Go"):
        tools.find("gofmt")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(AssertionError, match="CI requires gofmt to check the documents"):
        tools.find("gofmt")
