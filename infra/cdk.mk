# The deployment: what `make help` lists, and the checks of the template.
# Everything that is fetched goes to build/, pinned by version and hash: npm ci by
# package-lock.json, pip by the lock files of infra/checks.
.PHONY: node app prepared synth bootstrap deploy limits destroy check-infra reproducible cfn-lint checkov moto sam-validate functions-on-moto snippets sam-local localstack

STAGE ?= dev
CONTEXT ?=
CDK := build/cdk/node_modules/.bin/cdk
APP := build/cdk/app
TEMPLATE := cdk.out/Connector-$(STAGE).template.json
FULL := build/full/Connector-prod.template.json
VENV := build/venv

node: setup
	@command -v node >/dev/null 2>&1 || { echo "Node is missing, which the CDK runs on: install Node 22 or later from https://nodejs.org"; exit 1; }
	@v=$$(node --version | sed 's/^v//'); [ "$${v%%.*}" -ge 20 ] || { echo "Node $$v is too old for the CDK: install Node 22 or later from https://nodejs.org"; exit 1; }

# A Go module of its own, so that ./... does not look into the CDK's templates.
$(CDK): infra/cdk/package.json infra/cdk/package-lock.json
	@mkdir -p build/cdk && cp infra/cdk/package.json infra/cdk/package-lock.json build/cdk/ && echo 'module cdk' >build/cdk/go.mod
	cd build/cdk && npm ci --no-audit --no-fund --silent

app: setup
	@mkdir -p build/cdk && go build -o $(APP) ./infra

# What every command of the CDK needs, at once: the CDK app, the functions that
# it deploys, and the CLI.
prepared: node
	@$(MAKE) --no-print-directory -j3 app build $(CDK)

synth: prepared ## Write the CloudFormation template to cdk.out (STAGE=dev)
	$(CDK) synth --app $(APP) --quiet -c stage=$(STAGE) $(CONTEXT)

bootstrap: prepared ## Prepare the AWS account of the environment for the CDK, once for each region
	$(CDK) bootstrap --app $(APP)

deploy: prepared limits ## Deploy to the AWS account of the environment (STAGE=dev CONTEXT='-c alarmEmail=…')
	$(CDK) deploy --app $(APP) --require-approval broadening -c stage=$(STAGE) $(CONTEXT)

# The functions that anybody can call reserve a part of the account's concurrency.
limits: setup
	@go run ./infra/limits -c stage=$(STAGE) $(CONTEXT)

destroy: prepared ## Remove the stack; what stays is in the README (STAGE=dev)
	$(CDK) destroy --app $(APP) -c stage=$(STAGE) $(CONTEXT)

# The same with every setting set, for the checks.
$(FULL): synth
	@$(CDK) synth --app $(APP) --quiet --output build/full -c stage=prod -c returnOrigins=https://app.example.com \
		-c domainName=connect.example.com -c certificateArn=arn:aws:acm:eu-west-1:123456789012:certificate/test \
		-c keyArn=arn:aws:kms:eu-west-1:123456789012:key/test -c alarmEmail=oncall@example.com -c reserveConcurrency=true \
		-c tokenCallers=345678901234,arn:aws:iam::210987654321:role/publisher

check-infra: synth cfn-lint checkov moto sam-validate functions-on-moto snippets reproducible ## Hold template and functions against cfn-lint, checkov, moto and SAM

# Two builds in two places are the same, byte for byte.
reproducible: build
	@rm -rf build/elsewhere && mkdir -p build/elsewhere/tree && \
		tar -cf - go.mod go.sum functions shared | tar -xf - -C build/elsewhere/tree && \
		$(MAKE) --no-print-directory -s -C build/elsewhere/tree -f $(CURDIR)/Makefile build >/dev/null && \
		diff -r build/functions build/elsewhere/tree/build/functions && \
		echo "two builds in two places are identical" && rm -rf build/elsewhere

# One environment a tool: their requirements contradict one another. The lock file has
# every package, and only wheels: a source package could fetch what it builds with.
PYTHON ?= python3
PIP := bin/pip install --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary :all:
$(VENV)/%: infra/checks/%.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { echo "The checks need Python 3.11, 3.12 or 3.13: name one, such as make checkov PYTHON=python3.13"; exit 1; }
	@rm -rf $@ && $(PYTHON) -m venv $@ && $@/$(PIP) -r $< && $@/bin/pip --disable-pip-version-check check --quiet && touch $@

cfn-lint: $(VENV)/cfn $(FULL)
	$(VENV)/cfn/bin/cfn-lint --non-zero-exit-code informational -t $(TEMPLATE) $(FULL)

checkov: $(VENV)/checkov $(FULL)
	$(VENV)/checkov/bin/checkov --file $(TEMPLATE) $(FULL) --framework cloudformation --skip-download --compact --quiet

moto: $(VENV)/cfn
	$(VENV)/cfn/bin/python infra/checks/create_in_moto.py $(TEMPLATE)

sam-validate: export SAM_CLI_TELEMETRY := 0
sam-validate: $(VENV)/sam
	$(VENV)/sam/bin/sam validate --lint --region us-east-1 -t $(TEMPLATE)
	$(VENV)/sam/bin/python infra/checks/read_as_sam.py $(TEMPLATE)

functions-on-moto: setup $(VENV)/cfn $(VENV)/sam
	@for f in $(FUNCTIONS); do go build -tags lambda.norpc -o build/host/$$f/bootstrap ./functions/$$f || exit 1; done
	$(VENV)/cfn/bin/python infra/checks/functions_on_moto.py build/host $(VENV)/sam/bin/sam $(TEMPLATE)

build/snippets: infra/checks/package.json infra/checks/package-lock.json
	@mkdir -p $@ && cp $^ $@/ && cd $@ && npm ci --no-audit --no-fund --silent && touch .

snippets: node $(VENV)/cfn build/snippets
	$(VENV)/cfn/bin/python infra/checks/run_snippets.py build/snippets $(wildcard README.md infra/README.md)

# The local stack's embedded AWS has the table and the secrets: `make run` goes
# beside it.
sam-local: export SAM_CLI_TELEMETRY := 0
sam-local: prepared $(VENV)/sam ## Serve the template's HTTP API with SAM (needs Docker), ENV_FILE=…
	$(CDK) synth --app $(APP) --quiet -c stage=local -c awsEndpointUrl=http://host.docker.internal:4566
	$(VENV)/sam/bin/sam local start-api -t cdk.out/Connector-local.template.json --env-vars $(or $(ENV_FILE),infra/checks/sam-env.json) $(SAM_FLAGS)

localstack: synth ## Deploy to a running LocalStack (AWS_ENDPOINT_URL, default http://localhost:4566)
	infra/checks/localstack.sh $(STAGE)
