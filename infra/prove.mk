# The proofs of the refresh protocol that take minutes.
.PHONY: prove

prove: setup ## Try to break the refresh protocol for some minutes, and print what each test proves (ARGS=-json)
	@go run ./infra/prove $(ARGS)
