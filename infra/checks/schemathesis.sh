#!/usr/bin/env bash
# Compares a local stack with the OpenAPI document. schemathesis sends requests that
# match the document and requests that do not. It reports a 5xx, and an answer that
# is not in the document. The argument is the path of schemathesis.
set -euo pipefail
root=$PWD
schemathesis=$(realpath "$1")
work=$root/build/schemathesis
rm -rf "$work" && mkdir -p "$work"
go build -o "$work/local" ./infra/local

RETURN_ORIGINS=https://example.com ALLOW_FULL_CREDENTIALS=true "$work/local" \
	-addr 127.0.0.1:0 -aws 127.0.0.1:0 -sandbox 127.0.0.1:0 -ready-file "$work/ready.json" >"$work/stack.log" 2>&1 &
stack=$!
trap 'kill "$stack" 2>/dev/null; wait "$stack" 2>/dev/null || true' EXIT
for _ in $(seq 240); do
	[ -s "$work/ready.json" ] && break
	kill -0 "$stack" 2>/dev/null || { cat "$work/stack.log"; exit 1; }
	sleep 0.5
done
[ -s "$work/ready.json" ] || { echo "the local stack was not ready within two minutes: see $work/stack.log"; exit 1; }
url=$(sed 's/.*"addr":"\([^"]*\)".*/\1/' "$work/ready.json")

cd "$work" # schemathesis writes the files to replay a failure here
"$schemathesis" --config-file "$root/infra/checks/schemathesis.toml" run "$root/shared/handler/openapi.yaml" --url "$url" \
	-H 'Authorization: not verified on the local stack' \
	--max-examples "${EXAMPLES:-30}" --max-redirects 0 --continue-on-failure \
	--generation-database none --seed "${SEED:-1}" --report-dir "$work/report" --no-color
