# The proofs of the refreshes and the consents that take minutes.
.PHONY: prove

prove: setup ## Try to break the refreshes and the consents for some minutes, and print what each test proves (ARGS=-json)
	@go run ./infra/prove $(ARGS)
