// Package deliver takes released results from the platform and puts each into a folder as one JSON file, whole or absent, for the
// laboratory system to pick up.
//
// The order of steps makes a crash harmless: every result of a page is durable in the folder, then the caller has heard of it, then
// the cursor is stored. A crash between any two asks for the same page again and finds its files there.
//
// It does not interpret a result beyond its identity and status, and never changes or deletes a file it has delivered.
package deliver

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"kenkyo/internal/edge/durable"
	"kenkyo/internal/fault"
	"kenkyo/internal/lab"
)

// Source gives the results released after a cursor, in order; it may wait that long for the first. results are kept as received.
type Source func(ctx context.Context, since string, wait time.Duration) (results []json.RawMessage, next string, more bool, err error)

// Result is what delivery reads of one result.
type Result struct {
	RequestID lab.RequestID    `json:"request_id"`
	Status    lab.ReportStatus `json:"status"`
	Version   int              `json:"version"`
}

// Final tells whether the result ends the wait for an answer. Later amendments may still follow.
func (r Result) Final() bool { return r.Status != lab.ReportPreliminary }

// Config says from where to where.
type Config struct {
	Out    string             // folder for results
	Cursor string             // file that holds the cursor
	FS     durable.FS         // every change of files goes through it
	Source Source             // the platform
	Done   func(Result) error // hears of each result once it is durable, before the cursor moves
}

// Delivery is one stream of results into one folder. One goroutine at a time.
type Delivery struct {
	config Config
	cursor string
}

// Open makes the folder when it is absent, removes temporary files of a crash, and reads the cursor. Errors: fault.Unavailable.
func Open(c Config) (*Delivery, error) {
	const op = "deliver.Open"
	if err := c.FS.Mkdir(c.Out); err != nil {
		return nil, fault.E(op, fault.Unavailable, err)
	}
	if err := durable.RemoveTemps(c.FS, c.Out); err != nil {
		return nil, fault.E(op, fault.Unavailable, err)
	}
	b, err := os.ReadFile(c.Cursor)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fault.E(op, fault.Unavailable, err)
	}
	return &Delivery{config: c, cursor: string(b)}, nil
}

// Poll asks once and delivers what comes; it tells how many results came and whether more are ready.
// Errors: those of Source and Done as they are; fault.Unavailable when the folder cannot be written. The cursor then stays.
func (d *Delivery) Poll(ctx context.Context, wait time.Duration) (count int, more bool, err error) {
	results, next, more, err := d.config.Source(ctx, d.cursor, wait)
	if err != nil {
		return 0, false, err
	}
	for _, raw := range results {
		r, err := d.write(raw)
		if err != nil {
			return 0, false, fault.E("deliver.Poll", fault.Unavailable, err)
		}
		if err := d.config.Done(r); err != nil {
			return 0, false, err
		}
	}
	if next == "" || next == d.cursor {
		return len(results), false, nil
	}
	if err := durable.WriteFile(d.config.FS, d.config.Cursor, []byte(next)); err != nil {
		return 0, false, fault.E("deliver.Poll", fault.Unavailable, err)
	}
	d.cursor = next
	return len(results), more, nil
}

// safe is what a request identifier must look like to name a file.
var safe = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

// write puts one result into the folder as <request_id>.v<version>.json. The same bytes under the same name were delivered before;
// other bytes under the same name, or a result without a usable name, get a name with their digest: nothing is lost or overwritten.
func (d *Delivery) write(raw json.RawMessage) (Result, error) {
	var r Result
	unreadable := json.Unmarshal(raw, &r) != nil
	sum := sha256.Sum256(raw)
	digest := hex.EncodeToString(sum[:6])
	name := fmt.Sprintf("%s.v%d.json", r.RequestID, r.Version)
	if unreadable || !safe.MatchString(string(r.RequestID)) {
		r = Result{}
		name = "unnamed-" + digest + ".json"
	}
	path := filepath.Join(d.config.Out, name)
	old, err := os.ReadFile(path) //nolint:gosec // the name is checked above
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return r, durable.WriteFile(d.config.FS, path, raw)
	case err != nil:
		return r, err
	case same(old, raw):
		return r, d.config.FS.SyncDir(d.config.Out) // a crash may have come between its rename and this
	}
	other := filepath.Join(d.config.Out, fmt.Sprintf("%s.v%d.%s.json", r.RequestID, r.Version, digest))
	return r, durable.WriteFile(d.config.FS, other, raw)
}

// same compares two results by what they say: the platform may order or space the fields of a repeated one differently.
func same(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	var left, right bytes.Buffer
	return canonical(&left, a) == nil && canonical(&right, b) == nil && bytes.Equal(left.Bytes(), right.Bytes())
}

// canonical writes JSON with sorted keys and numbers as they were written.
func canonical(w *bytes.Buffer, b []byte) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return err
	}
	return json.NewEncoder(w).Encode(v)
}
