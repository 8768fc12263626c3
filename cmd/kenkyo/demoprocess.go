package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"kenkyo/internal/fault"
)

// process is one program of the demo, with its output in a log file.
type process struct {
	name string
	log  string
	cmd  *exec.Cmd
	done chan error
}

// start runs a program until it is stopped.
func (d *demo) start(ctx context.Context, name, program string, args ...string) (*process, error) {
	const op = "demo"
	p := &process{name: name, log: d.path(name + ".log"), done: make(chan error, 1)}
	f, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fault.E(op, fault.Unavailable, err)
	}
	p.cmd = exec.CommandContext(ctx, program, args...) //nolint:gosec // our own two programs
	p.cmd.Stdout, p.cmd.Stderr = f, f
	// The programs end by our signal, in order, and not by the Ctrl-C that reaches the whole group.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = 30 * time.Second
	if err := p.cmd.Start(); err != nil {
		return nil, errors.Join(fault.E(op, fault.Unavailable, fmt.Errorf("%s does not start: %w", filepath.Base(program), err)), f.Close())
	}
	go func() {
		err := p.cmd.Wait()
		p.done <- errors.Join(err, f.Close())
	}()
	return p, nil
}

// stop asks the program to end and waits for it.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
	<-p.done                                  //nolint:errcheck // why it ended is what died tells
}

// died reports a program that ended although nobody asked it to.
func (p *process) died() error {
	select {
	case err := <-p.done:
		p.done <- err // for stop
		return fault.E("demo", fault.Unavailable, fmt.Errorf("the %s ended early (%w); its log is %s", p.name, err, p.log))
	default:
		return nil
	}
}

// waitReady waits until the platform answers.
func waitReady(ctx context.Context, url string, p *process) error {
	client := &http.Client{Timeout: time.Second}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/readyz", http.NoBody)
		if err != nil {
			return fault.E("demo", fault.Internal, err)
		}
		if resp, err := client.Do(req); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fault.E("demo", fault.Unavailable, ctx.Err())
		case <-tick.C:
		}
		if err := p.died(); err != nil {
			return err
		}
	}
}
