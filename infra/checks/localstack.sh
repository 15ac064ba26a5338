#!/usr/bin/env bash
# Deploys the template to a running LocalStack, and prints the outputs.
# LocalStack sets AWS_ENDPOINT_URL for its functions.
set -euo pipefail

stage=${1:-dev}
export AWS_ENDPOINT_URL=${AWS_ENDPOINT_URL:-http://localhost:4566}
export AWS_ENDPOINT_URL_S3=${AWS_ENDPOINT_URL_S3:-http://s3.localhost.localstack.cloud:4566}
export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_REGION=us-east-1
unset AWS_PROFILE AWS_SESSION_TOKEN

if ! curl -fsS --max-time 5 "$AWS_ENDPOINT_URL/_localstack/health" >/dev/null; then
	echo "LocalStack does not answer at $AWS_ENDPOINT_URL: start it (it needs Docker), or set AWS_ENDPOINT_URL" >&2
	exit 1
fi

cdk=build/cdk/node_modules/.bin/cdk
"$cdk" bootstrap --app build/cdk/app aws://000000000000/us-east-1
"$cdk" deploy --app build/cdk/app --require-approval never -c "stage=$stage" --outputs-file build/localstack-outputs.json
cat build/localstack-outputs.json
