# The check of the tests of the refresh protocol.
.PHONY: mutants

mutants: setup ## Remove each guard of the refresh protocol in turn, and print which tests fail (ARGS='-run PATTERN -json')
	@go run ./infra/mutants $(ARGS)
