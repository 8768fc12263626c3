package edge_test

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"time"

	"kenkyo/internal/edge"
	"kenkyo/internal/edge/edgetest"
)

// TestRunStopsEverythingItStarted is not parallel: it looks at every goroutine of the process, and parallel tests have not begun yet.
func TestRunStopsEverythingItStarted(t *testing.T) { //nolint:paralleltest // see above
	h := newHospital(t)
	h.photograph(t, "SP-001.jpg", 10)
	h.platform.Fail(edgetest.Cut(100), h.platform.Stall()) // leaves an upload under way
	c := h.config()
	c.Once = false
	agent, err := edge.New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- agent.Run(ctx) }()
	for uploads := 0; uploads < 2; uploads, _ = h.platform.Counts() {
		<-time.After(time.Millisecond)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Run = %v, want no error when it is told to stop", err)
	}
	agent.Close()
	deadline := time.Now().Add(5 * time.Second)
	for left := ours(); left != ""; left = ours() {
		if time.Now().After(deadline) {
			t.Fatalf("still running after Run and Close:\n%s", left)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// ours gives the goroutines that run the agent's code or its connections.
func ours() string {
	buf := make([]byte, 1<<20)
	var left []string
	for g := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		for _, mark := range []string{"kenkyo/internal/edge.(", "kenkyo/internal/edge/uplink.", "net/http.(*persistConn)", "net/http.(*Transport)"} {
			if strings.Contains(g, mark) {
				left = append(left, g)
				break
			}
		}
	}
	return strings.Join(left, "\n\n")
}
