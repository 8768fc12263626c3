# Kenkyo. Targets: demo test check check-all bench train build ort clean.
.DEFAULT_GOAL := build
SHELL := /bin/sh

# libjpeg-turbo decodes faster than the pure Go decoder; it is used where its headers are installed.
HAS_TURBO := $(shell printf '\#include <stdio.h>\n\#include <jpeglib.h>\n' | $${CC:-cc} -E -x c - >/dev/null 2>&1 && echo turbo)
TAGS := $(if $(HAS_TURBO),-tags $(HAS_TURBO),)
VERSION := $(shell git describe --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X kenkyo/internal/app.Version=$(VERSION)
EDGE_LDFLAGS := -s -w -X main.version=$(VERSION)
ORT := .cache/onnxruntime/1.30.0/libonnxruntime.so.1
GOLANGCI := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

export CGO_ENABLED := 1

.PHONY: build demo test check check-all lint bench train ort clean need

build: need
	@mkdir -p bin
	@test -n "$(HAS_TURBO)" || echo "note: libjpeg-turbo's headers are not installed; the slower pure Go decoder is used (apt-get install libjpeg-dev)"
	go build $(TAGS) -ldflags "$(LDFLAGS)" -o bin/kenkyo ./cmd/kenkyo
	CGO_ENABLED=0 go build -trimpath -ldflags "$(EDGE_LDFLAGS)" -o bin/kenkyo-edge ./cmd/kenkyo-edge

# Names a missing prerequisite together with the command that installs it.
need:
	@sh tools/need.sh

ort: $(ORT)
$(ORT):
	@sh tools/fetch-onnxruntime.sh

demo: build $(ORT)
	@bin/kenkyo demo $(ARGS)

test: need $(ORT)
	go test $(TAGS) -timeout 20m ./...
	@sh tools/test-training.sh

check: need $(ORT)
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "gofmt these:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	go vet $(TAGS) ./...
	go test $(TAGS) -race -short -timeout 20m ./...
	$(MAKE) lint

lint:
	go run $(GOLANGCI) run $(if $(HAS_TURBO),--build-tags $(HAS_TURBO),) ./...

# Everything that has a time budget of its own: fuzz targets, 60 s each.
check-all: check test
	@sh tools/fuzz.sh 60s

bench: need $(ORT)
	go test $(TAGS) -run '^$$' -bench . -benchtime 2s ./internal/clinic/predict ./internal/adapter/pixels ./internal/adapter/ort ./internal/app

train:
	@sh training/run.sh

clean:
	rm -rf bin .demo
