package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"kenkyo/internal/adapter/store"
	"kenkyo/internal/fault"
	"kenkyo/internal/lab"
)

// progressBar draws one line that is drawn over, or, where the output is no terminal, a line at each quarter.
type progressBar struct {
	out        io.Writer
	total      int
	isTerminal bool
	quarter    int
}

func newProgressBar(out io.Writer, total int) *progressBar {
	b := &progressBar{out: out, total: total, quarter: -1}
	if f, ok := out.(*os.File); ok {
		info, err := f.Stat()
		b.isTerminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return b
}

func (b *progressBar) show(answered int, p store.Progress) {
	const width = 30
	full := width * answered / b.total
	line := fmt.Sprintf("  [%s%s] %d/%d  queued %d  examined now %d  released %d  waiting for a technician %d  rejected %d",
		strings.Repeat("█", full), strings.Repeat("·", width-full), answered, b.total,
		p[lab.StateReceived], p[lab.StateClaimed], p[lab.StateReleased], p[lab.StateInReview], p[lab.StateRejected])
	if b.isTerminal {
		_, _ = fmt.Fprint(b.out, "\r\x1b[K"+line)
		return
	}
	if q := 4 * answered / b.total; q != b.quarter {
		b.quarter = q
		_, _ = fmt.Fprintln(b.out, line)
	}
}

func (b *progressBar) end() {
	if b.isTerminal {
		_, _ = fmt.Fprintln(b.out)
	}
}

// shownRequest is what the demo reads of GET /api/v1/requests/{id}.
type shownRequest struct {
	SpecimenID string    `json:"specimen_id"`
	State      string    `json:"state"`
	ReceivedAt time.Time `json:"received_at"`
	Images     []struct {
		ImageID         string               `json:"image_id"`
		State           string               `json:"state"`
		Reason          string               `json:"reason"`
		DoneAt          *time.Time           `json:"done_at"`
		Classifications []lab.Classification `json:"classifications"`
	} `json:"images"`
}

// report prints the table of results, as the hospital's own token reads them over HTTP.
func (d *demo) report(ctx context.Context, url string) (err error) {
	token, err := d.agentToken()
	if err != nil {
		return err
	}
	in, err := (&env{stdout: d.env.stdout, stderr: d.env.stderr, getenv: d.env.getenv, data: d.path("platform")}).open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	ids, err := in.Store.Requests(ctx)
	if err != nil {
		return err
	}
	var requests []shownRequest
	for _, id := range ids {
		r, err := readRequest(ctx, url, token, id)
		if err != nil {
			return err
		}
		requests = append(requests, *r)
	}
	d.env.printf("\n")
	waiting := 0
	err = d.env.table("SPECIMEN\tIMAGE\tFOUND (highest confidence)\tSTATE\tTIME", func(w io.Writer) {
		for i := range requests {
			waiting += printRequest(w, &requests[i])
		}
	})
	if waiting > 0 {
		d.env.printf("\n%d images wait for a technician: the model alone may not decide them.\n", waiting)
	}
	return err
}

func printRequest(w io.Writer, r *shownRequest) (waiting int) {
	for _, im := range r.Images {
		state, took := im.State, "-"
		switch lab.ImageState(im.State) { //nolint:exhaustive // the other states speak for themselves
		case lab.StateInReview:
			state = "waits for a technician (" + im.Reason + ")"
			waiting++
		case lab.StateDecided:
			state = "decided; released with its specimen's other images"
		case lab.StateRejected:
			state = "rejected (" + im.Reason + ")"
		}
		if im.DoneAt != nil {
			took = fmt.Sprintf("%d ms", im.DoneAt.Sub(r.ReceivedAt).Milliseconds())
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", r.SpecimenID, im.ImageID, summary(im.Classifications), state, took)
	}
	return waiting
}

func (d *demo) agentToken() (string, error) {
	b, err := os.ReadFile(d.path("agent", "device.json"))
	if err != nil {
		return "", fault.E("demo", fault.Unavailable, err)
	}
	var dev struct {
		Token string `json:"token"`
	}
	if err := json.Unmarshal(b, &dev); err != nil {
		return "", fault.E("demo", fault.Corrupt, err)
	}
	return dev.Token, nil
}

func readRequest(ctx context.Context, url, token string, id lab.RequestID) (*shownRequest, error) {
	const op = "demo"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/api/v1/requests/"+string(id), http.NoBody)
	if err != nil {
		return nil, fault.E(op, fault.Internal, err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	client := &http.Client{Timeout: 30 * time.Second}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fault.E(op, fault.Unavailable, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fault.E(op, fault.Unavailable, fmt.Errorf("GET request: %s", resp.Status))
	}
	var r shownRequest
	if err := json.NewDecoder(resp.Body).Decode(&r); err != nil {
		return nil, fault.E(op, fault.Internal, err)
	}
	return &r, nil
}

// farewell says where to look next.
func (d *demo) farewell(url string) {
	files, _ := filepath.Glob(d.path("results", "*.json")) // the pattern is well formed
	d.env.printf("\nThe hospital has %d results in %s.\nWhere to look next:\n", len(files), d.path("results"))
	d.env.printf("  %s/openapi.json   the API     %s/metrics   the metrics\n", url, url)
	d.env.printf("  %s doctor --data %s   holds what is stored against the invariants\n", d.self, d.path("platform"))
	d.env.printf("  docs/data-path.md   follows one image from socket to result\n")
	if !d.isOnce {
		d.env.printf("Copy images into %s/<specimen>/ to send more. Ctrl-C ends the demo.\n", d.path("inbox"))
	}
}
