# Shortcuts; the truth is in .ci/run.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

.PHONY: build test check demo fuzz bench image
build: ## the static binary, ./posthouse
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X github.com/posthouse/posthouse/cmd/posthouse/cli.Version=$(VERSION)' -o posthouse ./cmd/posthouse
test: ## all tests that this machine can run
	go test ./...
check: ## what CI runs
	bash .ci/run
demo: ## three nodes, a killed leader, nothing lost
	go run ./cmd/posthouse demo
fuzz: ## a minute of fuzzing
	bash .ci/run fuzz
bench: ## the benchmarks, as a table
	go run ./test/bench
