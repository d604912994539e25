#!/usr/bin/env bash
# OpenAPI Generator 7.25.0, generator `rust`: an error of any status is read as the first status that has its schema.
#
# The error of an operation is an enum with a variant for each status (`Status400`, `Status503`, ...), made with
# `#[serde(untagged)]`: serde takes the first variant that fits the body, and nothing compares the status. Where errors
# share a schema, as problem details (RFC 9457) do, each of them is `Status400`. Seen: a body of 503 is `Status400`.
# The status beside it (`ResponseContent::status`) is right. Needs cargo, a Java runtime and Maven. Exits with 1 once this
# is no longer so.
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
        "200": {description: A job.}
        "400":
          description: A mistake.
          content: {application/problem+json: {schema: {$ref: "#/components/schemas/Problem"}}}
        "503":
          description: Too busy.
          content: {application/problem+json: {schema: {$ref: "#/components/schemas/Problem"}}}
components:
  schemas:
    Problem:
      type: object
      required: [title]
      properties: {title: {type: string}}
YAML

java -jar "openapi-generator-cli-$version.jar" generate -g rust -i openapi.yaml -o jobs \
  --additional-properties packageName=jobs > log

# What serde makes of it shows without the HTTP client that the crate needs besides.
mkdir -p read/src
cat > read/Cargo.toml <<'TOML'
[package]
name = "read"
version = "0.0.0"
edition = "2021"

[dependencies]
serde = { version = "=1.0.228", features = ["derive"] }
serde_json = "=1.0.145"
TOML
{
  echo 'use serde::{Deserialize, Serialize}; mod models {'
  cat jobs/src/models/problem.rs | sed 's/^use crate::models;//'
  echo '}'
  sed -n '/^#\[derive/,/^}/p' jobs/src/apis/default_api.rs
  echo 'fn main() { let read: ReadJobError = serde_json::from_str("{\"title\": \"Too busy\"}").unwrap();'
  echo 'println!("a body of 503 is {read:?}"); }'
} > read/src/main.rs
said=$(cd read && cargo run --quiet)
echo "$said"
grep -q 'Status400' <<< "$said" || { echo 'changed: it is no longer the first'; exit 1; }
echo "OpenAPI Generator $version: as described"
