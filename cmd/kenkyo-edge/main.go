// Command kenkyo-edge is the hospital's agent: it sends microscope images to the platform and delivers the results. It dials out only.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"kenkyo/internal/edge/cli"
)

// version is set by the linker for a release.
var version = "dev"

func main() {
	// The agent shares a laboratory computer with an analyser's own software: it trades speed of collection for room.
	debug.SetGCPercent(50)
	debug.SetMemoryLimit(20 << 20)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	p := &cli.Program{Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv, Version: version}
	code := p.Main(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}
