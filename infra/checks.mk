# The checks of the code besides the tests. infra/checks pins every tool, and all that
# it needs, by version and hash. The Go tools have a go.mod and a go.sum of their own
# there, so that the product's go.mod does not contain them.
.PHONY: check check-code staticcheck gosec vulnerabilities fuzz sbom schemathesis lock

TOOL := go tool -modfile=infra/checks/tools.mod
CYCLONEDX := github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod
FUZZTIME ?= 10s

check: check-code check-infra ## Check the code and the template with all linters

# -e: jsii-runtime-go requires the tool golang.org/x/tools/cmd/godoc, which its module
# does not contain any more. The build does not use it.
check-code: setup staticcheck gosec vulnerabilities ## Check the code with gofmt, vet, staticcheck, gosec, govulncheck and go.mod
	@unformatted=$$(gofmt -l functions infra shared); [ -z "$$unformatted" ] || { echo "gofmt: $$unformatted"; exit 1; }
	go vet ./...
	go vet -tags browser ./infra/local
	@untidy=$$(go mod tidy -e -diff 2>/dev/null); [ -z "$$untidy" ] || { echo "$$untidy"; exit 1; }
	go mod verify

staticcheck: setup
	$(TOOL) staticcheck ./...

# Only the code that deploys: the sandboxes, the local stack and the suites do on
# purpose what gosec reports. G101 reports names such as that of a token endpoint as
# secrets; TestCanary searches for the values.
gosec: setup
	$(TOOL) gosec -quiet -exclude=G101 ./functions/... ./shared/awscloud ./shared/boot ./shared/client ./shared/credentialstore ./shared/strictjson \
		./shared/config ./shared/connector ./shared/handler ./shared/metrics ./shared/platform

# govulncheck needs its database at vuln.go.dev, or in the folder of the file:// URL in
# GOVULNDB. Without the database, the target prints a message and succeeds.
GOVULNDB ?= https://vuln.go.dev
vulnerabilities: setup
	@if [ "$(GOVULNDB)" != https://vuln.go.dev ] || curl -sfo /dev/null --max-time 10 $(GOVULNDB)/index/db.json; then \
		$(TOOL) govulncheck -db "$(GOVULNDB)" ./...; \
	else \
		echo "govulncheck was skipped: its database at $(GOVULNDB) cannot be reached"; \
	fi

fuzz: setup ## Fuzz each target for FUZZTIME (10s)
	@for package in ./shared/handler ./shared/platform ./shared/strictjson; do \
		for target in $$(go test -list '^Fuzz' $$package | grep '^Fuzz'); do \
			echo "$$package $$target"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$package || exit 1; \
		done; \
	done

# All functions have the same modules.
sbom: setup ## Write the modules of the functions to build/sbom.json (CycloneDX)
	@go build -modfile=infra/checks/tools.mod -o build/bin/cyclonedx-gomod $(CYCLONEDX)
	@GOOS=linux GOARCH=arm64 CGO_ENABLED=0 GOFLAGS=-tags=lambda.norpc \
		build/bin/cyclonedx-gomod app -json -licenses -output build/sbom.json -main functions/token-get $(CURDIR)
	@echo build/sbom.json

schemathesis: setup build/venv/schemathesis ## Compare a local stack with the OpenAPI document
	infra/checks/schemathesis.sh build/venv/schemathesis/bin/schemathesis

# A .in file names the tools of one Python environment, and the .txt file beside it
# locks all that they need.
lock: build/venv/uv ## Resolve the Python tools of the checks again, and write their lock files
	@for tools in infra/checks/*.in; do build/venv/uv/bin/python infra/checks/lock.py build/venv/uv/bin/uv $$tools || exit 1; done
