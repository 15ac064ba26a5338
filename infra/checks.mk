# The checks of the code besides the tests. The tools are pinned and run from the
# module proxy, so that go.mod does not contain them.
.PHONY: check check-code staticcheck gosec vulnerabilities fuzz sbom schemathesis

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOSEC := github.com/securego/gosec/v2/cmd/gosec@v2.30.0
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0
CYCLONEDX := github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0
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
	go run $(STATICCHECK) ./...

# Only the code that deploys: the sandboxes, the local stack and the suites do on
# purpose what gosec reports. G101 reports names such as that of a token endpoint as
# secrets; TestCanary searches for the values.
gosec: setup
	go run $(GOSEC) -quiet -exclude=G101 ./functions/... ./shared/awscloud ./shared/boot ./shared/client ./shared/credentialstore ./shared/strictjson \
		./shared/config ./shared/connector ./shared/handler ./shared/metrics ./shared/platform

# govulncheck needs its database at vuln.go.dev, or in the folder of the file:// URL in
# GOVULNDB. Without the database, the target prints a message and succeeds.
GOVULNDB ?= https://vuln.go.dev
vulnerabilities: setup
	@if [ "$(GOVULNDB)" != https://vuln.go.dev ] || curl -sfo /dev/null --max-time 10 $(GOVULNDB)/index/db.json; then \
		go run $(GOVULNCHECK) -db "$(GOVULNDB)" ./...; \
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
	@GOBIN=$(CURDIR)/build/bin go install $(CYCLONEDX)
	@GOOS=linux GOARCH=arm64 CGO_ENABLED=0 GOFLAGS=-tags=lambda.norpc \
		build/bin/cyclonedx-gomod app -json -licenses -output build/sbom.json -main functions/token-get $(CURDIR)
	@echo build/sbom.json

schemathesis: setup build/venv/schemathesis ## Compare a local stack with the OpenAPI document
	infra/checks/schemathesis.sh build/venv/schemathesis/bin/schemathesis
