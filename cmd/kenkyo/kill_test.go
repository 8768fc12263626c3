package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// rig is a platform and a hospital agent as the processes that users run, to be killed at any moment.
type rig struct {
	t               *testing.T
	dir             string
	kenkyo, edge    string
	listen          string
	platform, agent *exec.Cmd
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir()}
	r.kenkyo, r.edge = filepath.Join(r.dir, "kenkyo"), filepath.Join(r.dir, "kenkyo-edge")
	r.command("go", "build", "-o", r.kenkyo, "kenkyo/cmd/kenkyo")
	r.command("go", "build", "-o", r.edge, "kenkyo/cmd/kenkyo-edge")
	graph, err := filepath.Abs(filepath.Join("..", "..", "internal", "app", "testdata", "cells.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	r.command(r.kenkyo, "model", "add", "--data", r.path("data"), "--name", "blood-smear", graph)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.listen = ln.Addr().String()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"inbox", "out"} {
		if err := os.MkdirAll(r.path(d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	r.startPlatform()
	code := strings.TrimSpace(r.command(r.kenkyo, "device", "enroll", "--data", r.path("data"), "--assay", "blood-smear"))
	r.waitListening()
	r.command(r.edge, "enroll", "--server", "http://"+r.listen, "--code", code, "--data", r.path("agent"))
	r.startAgent()
	t.Cleanup(func() {
		r.kill(r.agent)
		r.kill(r.platform)
	})
	return r
}

func (r *rig) path(name string) string { return filepath.Join(r.dir, name) }

// command runs a program to its end and gives its standard output.
func (r *rig) command(name string, args ...string) string {
	r.t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(r.t.Context(), name, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		r.t.Fatalf("%s %s: %v\n%s%s", filepath.Base(name), strings.Join(args, " "), err, out.String(), errs.String())
	}
	return out.String()
}

func (r *rig) start(logName, name string, args ...string) *exec.Cmd {
	r.t.Helper()
	log, err := os.OpenFile(r.path(logName), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		r.t.Fatal(err)
	}
	cmd := exec.Command(name, args...) //nolint:noctx // killed by the test
	cmd.Stdout, cmd.Stderr = log, log
	// A short lease, so that images of a killed process come back within the test.
	cmd.Env = append(os.Environ(), "KENKYO_LEASE=2s")
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		r.t.Fatal(err)
	}
	return cmd
}

func (r *rig) startPlatform() {
	r.platform = r.start("platform.log", r.kenkyo, "serve", "--data", r.path("data"), "--listen", r.listen)
}

func (r *rig) startAgent() {
	r.agent = r.start("agent.log", r.edge, "run", "--data", r.path("agent"), "--watch", r.path("inbox"), "--out", r.path("out"), "--interval", "100ms")
}

// kill ends a process at once; what it gave the kernel stays, so this is no power cut.
func (r *rig) kill(cmd *exec.Cmd) {
	_ = cmd.Process.Kill() // SIGKILL; it may have been killed before
	_ = cmd.Wait()
}

func (r *rig) waitListening() {
	r.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		c, err := net.DialTimeout("tcp", r.listen, time.Second)
		if err == nil {
			_ = c.Close()
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("the platform does not listen; its log:\n%s", r.tail("platform.log"))
		}
		<-time.After(50 * time.Millisecond)
	}
}

func (r *rig) tail(name string) string {
	b, err := os.ReadFile(r.path(name))
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-4000):])
}

// put lays a specimen of two images into the inbox.
func (r *rig) put(n int) {
	r.t.Helper()
	stage := r.path(fmt.Sprintf("stage-%d", n))
	if err := os.MkdirAll(stage, 0o700); err != nil {
		r.t.Fatal(err)
	}
	for i := range 2 {
		m := image.NewRGBA(image.Rect(0, 0, 320, 240))
		for j := range m.Pix {
			m.Pix[j] = byte(rand.IntN(256)) //nolint:gosec // noise
		}
		m.Set(0, 0, color.White)
		var b bytes.Buffer
		if err := png.Encode(&b, m); err != nil {
			r.t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(stage, fmt.Sprintf("%d.png", i)), b.Bytes(), 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(stage, ".ready"), nil, 0o600); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Rename(stage, filepath.Join(r.path("inbox"), fmt.Sprintf("SP-%03d", n))); err != nil {
		r.t.Fatal(err)
	}
}

// delivered reads the out folder: how often each specimen came.
func (r *rig) delivered() map[string]int {
	r.t.Helper()
	files, err := filepath.Glob(filepath.Join(r.path("out"), "*.json"))
	if err != nil {
		r.t.Fatal(err)
	}
	got := make(map[string]int)
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			r.t.Fatal(err)
		}
		var res struct {
			SpecimenID      string `json:"specimen_id"`
			Status          string `json:"status"`
			Classifications []any  `json:"classifications"`
		}
		if err := json.Unmarshal(b, &res); err != nil {
			r.t.Fatalf("%s is no whole result: %v", filepath.Base(f), err)
		}
		if res.Status != "final" || len(res.Classifications) != 4 {
			r.t.Errorf("%s: got status %s with %d classifications, want final with 4", res.SpecimenID, res.Status, len(res.Classifications))
		}
		got[res.SpecimenID]++
	}
	return got
}

// TestKilledAtAnyMoment kills platform and agent at random moments while specimens arrive. Every specimen must arrive once, and the
// stored data must keep every invariant. KENKYO_KILL_ROUNDS sets the number of kills.
func TestKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	rounds := 6
	if n, err := strconv.Atoi(os.Getenv("KENKYO_KILL_ROUNDS")); err == nil {
		rounds = n
	}
	if testing.Short() {
		rounds = 2
	}
	r := newRig(t)
	const perRound = 6
	sent := 0
	for round := range rounds {
		for range perRound {
			r.put(sent)
			sent++
		}
		<-time.After(time.Duration(rand.IntN(900)) * time.Millisecond) //nolint:gosec // a random moment
		switch round % 3 {
		case 0:
			r.kill(r.platform)
			r.startPlatform()
		case 1:
			r.kill(r.agent)
			r.startAgent()
		case 2:
			r.kill(r.platform)
			r.kill(r.agent)
			r.startPlatform()
			r.startAgent()
		}
	}
	got := map[string]int{}
	for deadline := time.Now().Add(90 * time.Second); len(got) < sent && time.Now().Before(deadline); {
		<-time.After(200 * time.Millisecond)
		got = r.delivered()
	}
	doubled := 0
	for specimen, n := range got {
		if n != 1 {
			doubled++
			t.Errorf("%s was delivered %d times", specimen, n)
		}
	}
	if lost := sent - len(got); lost > 0 {
		t.Errorf("%d of %d specimens are missing; agent log:\n%s\nplatform log:\n%s", lost, sent, r.tail("agent.log"), r.tail("platform.log"))
	}
	t.Logf("kills %d, specimens %d, delivered %d, doubled %d", rounds, sent, len(got), doubled)
	r.command(r.kenkyo, "doctor", "--data", r.path("data"))
}
