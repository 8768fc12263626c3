package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"kenkyo/internal/edge/edgetest"
)

// maxResident is the memory the agent may hold while it sends large images.
const maxResident = 30 << 20

// TestProcessStaysSmallAndListensToNobody runs the released program on images of 12 MB and looks at it from outside.
func TestProcessStaysSmallAndListensToNobody(t *testing.T) {
	t.Parallel()
	program := build(t, "linux", runtime.GOARCH)
	platform := edgetest.New(t)
	platform.Manual() // keeps the agent alive, waiting for results
	dir := t.TempDir()
	watch, out, data := filepath.Join(dir, "watch"), filepath.Join(dir, "out"), filepath.Join(dir, "data")
	const specimens = 6
	for i := range specimens {
		sub := filepath.Join(watch, fmt.Sprintf("SP-%d", i))
		if err := os.MkdirAll(sub, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(sub, "a.png"), largePNG(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	enrol := exec.CommandContext(t.Context(), program, "enroll", "--server", platform.URL, "--code", edgetest.Code, "--data", data)
	if said, err := enrol.CombinedOutput(); err != nil {
		t.Fatalf("enroll: %v\n%s", err, said)
	}
	var log bytes.Buffer
	agent := exec.CommandContext(t.Context(), program, "run", "--watch", watch, "--out", out, "--data", data, "--once", "--interval", "20ms", "--settle", "20ms")
	agent.Stderr = &log
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	platform.AwaitRequests(t, specimens)
	if sockets := listening(t, agent.Process.Pid); len(sockets) > 0 {
		t.Errorf("the agent listens on %q", sockets)
	}
	peak := peakResident(t, agent.Process.Pid)
	t.Logf("peak resident memory %.1f MB", float64(peak)/1e6)
	if peak > maxResident {
		t.Errorf("peak resident memory %d bytes, want at most %d", peak, maxResident)
	}
	for _, r := range platform.Requests() {
		platform.Release(r, "final", 1)
	}
	if err := agent.Wait(); err != nil {
		t.Errorf("the agent ended with %v\n%s", err, log.String())
	}
}

// largePNG is 12 MB in the shape of a PNG; nobody decodes its pixels.
func largePNG() []byte {
	chunk := func(kind string, body []byte) []byte {
		b := append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), kind...)
		b = append(b, body...)
		return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[4:]))
	}
	b := []byte("\x89PNG\r\n\x1a\n")
	b = append(b, chunk("IHDR", []byte("\x00\x00\x0f\xa0\x00\x00\x0b\xb8\x08\x02\x00\x00\x00"))...)
	b = append(b, chunk("IDAT", bytes.Repeat([]byte("kenkyo"), 2<<20))...)
	return append(b, chunk("IEND", nil)...)
}

// listening gives the process's TCP sockets in state LISTEN and its UDP sockets, by /proc.
func listening(t *testing.T, pid int) []string {
	t.Helper()
	own := map[string]bool{}
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && strings.HasPrefix(target, "socket:[") {
			own[strings.Trim(target, "socket:[]")] = true
		}
	}
	if len(own) == 0 {
		t.Error("the agent has no socket at all: was it looked at too late?")
	}
	var found []string
	for _, table := range []string{"tcp", "tcp6", "udp", "udp6"} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		if err != nil {
			continue // no such protocol in this kernel
		}
		for line := range strings.Lines(string(b)) {
			f := strings.Fields(line)
			const state, inode, listen = 3, 9, "0A"
			if len(f) > inode && own[f[inode]] && (f[state] == listen || strings.HasPrefix(table, "udp")) {
				found = append(found, table+" "+f[1])
			}
		}
	}
	return found
}

// peakResident gives the most memory the process has held, in bytes.
func peakResident(t *testing.T, pid int) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		var kb int64
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kb); err == nil {
			return kb << 10
		}
	}
	t.Fatalf("no VmHWM in\n%s", b)
	return 0
}
