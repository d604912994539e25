#!/usr/bin/env bash
# OpenAPI Generator 7.25.0, generator `go`, default options: two named enums that share a word do not compile.
#
# Each word becomes a package-level constant named after the word alone, so that `Failed` in two schemas is declared twice.
# The option `enumClassPrefix=true` puts the schema's name before it, and compiles. Seen: "FAILED redeclared in this block".
# Needs Go, a Java runtime and Maven. Exits with 1 once this is no longer so.
set -euo pipefail
version=7.25.0
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mvn --batch-mode --quiet org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy \
  -Dartifact="org.openapitools:openapi-generator-cli:$version" -DoutputDirectory=.

cat > openapi.yaml <<'YAML'
openapi: 3.0.3
info: {title: jobs, version: "1"}
paths:
  /job:
    get:
      operationId: readJob
      responses:
        "200":
          description: A job.
          content: {application/json: {schema: {$ref: "#/components/schemas/Job"}}}
components:
  schemas:
    Job:
      type: object
      properties:
        phase: {$ref: "#/components/schemas/Phase"}
        ending: {$ref: "#/components/schemas/Ending"}
    Phase: {type: string, enum: [Running, Done, Failed]}
    Ending: {type: string, enum: [Completed, Failed]}
YAML

builds() {
  rm -rf jobs
  java -jar "openapi-generator-cli-$version.jar" generate -g go -i openapi.yaml -o jobs \
    --additional-properties "packageName=jobs,withGoMod=false,$1" --global-property models,apis,supportingFiles,apiTests=false,modelTests=false > log
  printf 'module jobs\n\ngo 1.21\n' > jobs/go.mod
  (cd jobs && go build ./... 2>&1)
}

if said=$(builds enumClassPrefix=false); then
  echo "changed: it compiles now"
  exit 1
fi
echo "$said"
grep -q 'FAILED redeclared in this block' <<< "$said" || { echo 'changed: it says another thing'; exit 1; }
builds enumClassPrefix=true || { echo 'changed: enumClassPrefix=true does not compile'; exit 1; }
echo "OpenAPI Generator $version, $(go version): as described"
