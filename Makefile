# Every target says what it does: make help.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup run build test test-browser test-aws bench fmt invoke clean

# The race detector needs a C compiler; without one the tests run all the same.
RACE := $(shell command -v gcc >/dev/null 2>&1 || command -v clang >/dev/null 2>&1 && echo -race)
FUNCTIONS := $(notdir $(wildcard functions/*))

help: ## Show what can be done
	@grep -hE '^[a-z][a-z-]*:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  \033[1m%-14s\033[0m %s\n", $$1, $$2}'

setup:
	@command -v go >/dev/null 2>&1 || { echo "Go is missing: install Go 1.26 or later from https://go.dev/dl/"; exit 1; }
	@v=$$(go env GOVERSION | sed 's/^go//'); [ "$$(printf '%s\n' 1.26 "$$v" | sort -V | head -1)" = 1.26 ] || { echo "Go $$v is too old: install Go 1.26 or later from https://go.dev/dl/"; exit 1; }

run: setup ## Run the whole connector on this machine, with sandbox platforms
	@echo "building the local stack; the first time takes a minute…"
	@go build -buildvcs=false -o build/stack ./infra/local && exec build/stack $(ARGS)

build: setup ## Build the functions as they deploy (arm64, reproducible) into build/functions
	@mkdir -p build/linked
	@GOOS=linux GOARCH=arm64 CGO_ENABLED=0 go build -trimpath -buildvcs=false -tags lambda.norpc -ldflags '-s -w -buildid=' -o build/linked/ ./functions/...
	@for f in $(FUNCTIONS); do mkdir -p build/functions/$$f && mv build/linked/$$f build/functions/$$f/bootstrap || exit 1; done

# The CDK app and the blueprint start nothing beside each other, so that the race
# detector would only have the CDK, the largest of all modules, compiled again.
test: setup node ## Run the tests, with the race detector where there is a C compiler
	go test ./infra ./infra/blueprint
	go test -timeout 18m $(RACE) $$(go list ./... | grep -v -e '/infra$$' -e '/infra/blueprint$$')

test-browser: setup ## Drive the consents in headless Chromium
	go test -tags browser -run Browser -count 1 ./infra/local

test-aws: setup build/venv/cfn ## Run the stores' tests on DynamoDB Local and moto (needs Java, Maven, Python)
	infra/local/test-aws $(ARGS)

bench: setup ## Measure, against the baseline in the same run
	go test -run '^$$' -bench . -benchtime 2s ./shared/... ./infra/local

fmt: setup ## Format the code
	gofmt -w functions shared infra

EVENT ?= token-get/by-owner
invoke: ## Send a sample event to the running local stack (EVENT=token-get/by-owner)
	@[ -f events/$(EVENT).json ] || { echo "There is no events/$(EVENT).json; EVENT is the path of a file in events, without its .json"; exit 1; }
	@curl -sS --data-binary @events/$(EVENT).json $${AWS_ENDPOINT_URL:-http://127.0.0.1:4566}/2015-03-31/functions/$(firstword $(subst /, ,$(EVENT)))/invocations; echo

clean: ## Remove what was built
	rm -rf build cdk.out infra/cdk/node_modules

-include infra/cdk.mk infra/checks.mk infra/mutants.mk infra/prove.mk
