//go:build unix

package edge_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"kenkyo/internal/edge"
	"kenkyo/internal/edge/durable"
)

// Environment of the child process that TestMain becomes.
const (
	envKillAt = "KENKYO_EDGE_TEST_KILL_AT" // the operation on files at which it is killed; 0 is never
	envDir    = "KENKYO_EDGE_TEST_DIR"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(envDir); dir != "" {
		os.Exit(child(dir, os.Getenv(envKillAt)))
	}
	os.Exit(m.Run())
}

// child runs an agent until everything is answered, or until it is killed.
func child(dir, at string) int {
	n, err := strconv.ParseInt(at, 10, 64)
	if err != nil {
		return 2
	}
	c := (&hospital{data: filepath.Join(dir, "data"), watch: filepath.Join(dir, "watch"), out: filepath.Join(dir, "out"), logs: &syncBuffer{}}).config()
	c.FS = &counting{OS: durable.OS{}, act: func(op int64) error {
		if op == n {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL) // nothing after this line runs
			select {}
		}
		return nil
	}}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	agent, err := edge.New(c)
	if err == nil {
		err = agent.Run(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// counting calls act before every operation that changes the file system, with the operation's number from 1; an error stands in for
// the operation.
type counting struct {
	durable.OS

	n   atomic.Int64
	act func(op int64) error
}

func (c *counting) step() error { return c.act(c.n.Add(1)) }

func (c *counting) Mkdir(path string) error {
	return first(c.step, func() error { return c.OS.Mkdir(path) })
}

func (c *counting) Rename(from, to string) error {
	return first(c.step, func() error { return c.OS.Rename(from, to) })
}

func (c *counting) Remove(path string) error {
	return first(c.step, func() error { return c.OS.Remove(path) })
}

func (c *counting) RemoveAll(path string) error {
	return first(c.step, func() error { return c.OS.RemoveAll(path) })
}

func (c *counting) SyncDir(path string) error {
	return first(c.step, func() error { return c.OS.SyncDir(path) })
}

func (c *counting) Create(path string) (durable.File, error) {
	if err := c.step(); err != nil {
		return nil, err
	}
	f, err := c.OS.Create(path)
	return &countingFile{f, c}, err
}

type countingFile struct {
	durable.File

	c *counting
}

func (f *countingFile) Write(p []byte) (int, error) {
	if err := f.c.step(); err != nil {
		return 0, err
	}
	return f.File.Write(p)
}

func (f *countingFile) Sync() error { return first(f.c.step, f.File.Sync) }

func first(check, do func() error) error {
	if err := check(); err != nil {
		return err
	}
	return do()
}

// sweep calls try with 1, 2, 3, … as subtests, a few at once, until try says that the number was not reached or a subtest fails.
// With -short it takes every seventh number.
func sweep(t *testing.T, try func(t *testing.T, n int64) (reached bool)) {
	t.Helper()
	const workers = 4 // they wait for the disk most of the time
	stride := int64(1)
	if testing.Short() {
		stride = 7
	}
	var ended atomic.Bool
	var next atomic.Int64
	for w := range workers {
		t.Run(fmt.Sprintf("worker %d", w), func(t *testing.T) {
			t.Parallel()
			for !ended.Load() && !t.Failed() {
				n := next.Add(stride)
				t.Run(fmt.Sprintf("operation %d", n), func(t *testing.T) {
					if !try(t, n) {
						ended.Store(true)
					}
				})
			}
		})
	}
	t.Cleanup(func() {
		const least = 50
		if !t.Failed() && next.Load() < least {
			t.Errorf("%d operations were swept, want at least %d: did the agent do anything?", next.Load(), least)
		}
	})
}

// TestKilledAtAnyPointLosesAndDoublesNothing kills the agent before each of its operations on files in turn, then lets another one
// finish.
func TestKilledAtAnyPointLosesAndDoublesNothing(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	sweep(t, func(t *testing.T, n int64) bool { return killAt(t, self, n) })
}

// killAt tells whether the agent was killed; when it made fewer operations than n it was not.
func killAt(t *testing.T, self string, n int64) bool {
	t.Helper()
	h := newHospital(t)
	h.photograph(t, "SP-001/a.jpg", 10)
	h.photograph(t, "SP-001/b.jpg", 20)
	h.photograph(t, "SP-002.jpg", 30)
	run := func(at int64) error {
		cmd := exec.CommandContext(t.Context(), self, "-test.run=^$")
		cmd.Env = append(os.Environ(), envDir+"="+filepath.Dir(h.data), fmt.Sprintf("%s=%d", envKillAt, at))
		out, err := cmd.CombinedOutput()
		if len(out) > 0 {
			t.Logf("agent: %s", out)
		}
		return err
	}
	err := run(n)
	var exit *exec.ExitError
	killed := errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL //nolint:errcheck // Unix only
	if err != nil && !killed {
		t.Fatalf("the agent ended with %v, want it killed or done", err)
	}
	if killed {
		if err := run(0); err != nil {
			t.Fatalf("the agent after the killed one ended with %v", err)
		}
	}
	h.whole(t, "SP-001", "SP-002")
	return killed
}

var errInjected = errors.New("injected failure of the disk")

// TestAnySingleFailureOfTheDiskLosesAndDoublesNothing fails each operation on files in turn; the agent goes on, or ends with an error
// and is started again.
func TestAnySingleFailureOfTheDiskLosesAndDoublesNothing(t *testing.T) {
	t.Parallel()
	sweep(t, func(t *testing.T, n int64) bool {
		h := newHospital(t)
		h.photograph(t, "SP-001/a.jpg", 10)
		h.photograph(t, "SP-002.jpg", 30)
		var reached atomic.Bool
		c := h.config()
		c.FS = &counting{act: func(op int64) error {
			if op == n {
				reached.Store(true)
				return errInjected
			}
			return nil
		}}
		if err := h.run(t, c); err != nil {
			if !errors.Is(err, errInjected) {
				t.Fatalf("Run = %v, want the injected failure or none", err)
			}
			if err := h.run(t, h.config()); err != nil {
				t.Fatalf("second Run = %v", err)
			}
		}
		if err := h.run(t, h.config()); err != nil { // completes what only a start completes
			t.Fatalf("last Run = %v", err)
		}
		h.whole(t, "SP-001", "SP-002")
		return reached.Load()
	})
}
