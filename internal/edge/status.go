package edge

import (
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"kenkyo/internal/edge/durable"
	"kenkyo/internal/edge/spool"
	"kenkyo/internal/edge/watch"
	"kenkyo/internal/fault"
	"kenkyo/internal/lab"
)

// Link is how the agent stands with the platform.
type Link string

// The states of the link.
const (
	StateUnknown       Link = "unknown"        // nothing was tried yet
	StateOK            Link = "ok"             // the last call was answered as it should be
	StateOffline       Link = "offline"        // no answer, or the platform asks to wait
	StateTokenRefused  Link = "token_refused"  // the device must be enrolled again
	StateCannotDeliver Link = "cannot_deliver" // results exist but cannot be put into the folder
)

// Report is what the status command shows.
type Report struct {
	Enrolled    bool         `json:"enrolled"`
	Server      string       `json:"server,omitempty"`
	DeviceID    lab.DeviceID `json:"device_id,omitempty"`
	Running     bool         `json:"running"`
	Link        Link         `json:"link"`
	LinkDetail  string       `json:"link_detail,omitempty"`
	LastContact time.Time    `json:"last_contact,omitzero"`
	Waiting     []Entry      `json:"waiting"`
	Held        []Entry      `json:"held"`
	Sent        []Entry      `json:"sent"`     // accepted, without a final result
	Answered    int          `json:"answered"` // in the last week
	Problems    []Problem    `json:"problems"` // in the watched folder
	Damaged     string       `json:"damaged,omitempty"`
}

// Entry is one item of the queue.
type Entry struct {
	ID         spool.ItemID   `json:"id"`
	SpecimenID lab.SpecimenID `json:"specimen_id"`
	RequestID  lab.RequestID  `json:"request_id,omitempty"`
	Images     []string       `json:"images"` // the hospital's file names, in the order of img-001, img-002, …
	CreatedAt  time.Time      `json:"created_at"`
	Attempts   int            `json:"attempts"`
	LastError  string         `json:"last_error,omitempty"`
	Reason     *spool.Reason  `json:"reason,omitempty"`
}

// Problem is a file or folder that cannot become a submission until a person changes it.
type Problem struct {
	Path  string `json:"path"`
	Cause string `json:"cause"`
}

// ReadReport reads how things stand, beside a running agent or without one. Errors: fault.Unavailable; fault.Invalid for a data folder
// that others can read.
func ReadReport(dataDir string) (Report, error) {
	const op = "edge.ReadReport"
	r := Report{Link: StateUnknown, Waiting: []Entry{}, Held: []Entry{}, Sent: []Entry{}, Problems: []Problem{}}
	device, err := LoadDevice(dataDir)
	if errors.Is(err, ErrNotEnrolled) {
		return r, nil
	}
	if err != nil {
		return r, err
	}
	r.Enrolled, r.Server, r.DeviceID = true, device.Server, device.DeviceID
	queue, err := spool.Attach(spoolDir(dataDir), durable.OS{})
	if err != nil {
		return r, err
	}
	r.Running = spool.Owned(spoolDir(dataDir))
	for state, list := range map[spool.State]*[]Entry{spool.Waiting: &r.Waiting, spool.Held: &r.Held, spool.Sent: &r.Sent} {
		items, err := queue.List(state)
		if fault.Is(err, fault.Corrupt) {
			r.Damaged = fault.Message(err)
		} else if err != nil {
			return r, err
		}
		for _, it := range items {
			*list = append(*list, entry(it))
		}
	}
	if r.Answered, err = queue.Count(spool.Answered); err != nil {
		return r, err
	}
	var n notes
	b, err := os.ReadFile(statusFile(dataDir))
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return r, fault.E(op, fault.Unavailable, err)
	}
	if json.Unmarshal(b, &n) == nil {
		r.Link, r.LinkDetail, r.LastContact = n.Link, n.Detail, n.LastContact
		r.Problems = append(r.Problems, n.Problems...)
	}
	return r, nil
}

func entry(it *spool.Item) Entry {
	e := Entry{
		ID: it.ID, SpecimenID: it.SpecimenID, RequestID: it.Status.RequestID, CreatedAt: it.CreatedAt,
		Attempts: it.Status.Attempts, LastError: it.Status.LastError, Reason: it.Status.Reason, Images: []string{},
	}
	for _, img := range it.Images {
		e.Images = append(e.Images, img.Name)
	}
	return e
}

// notes is what a running agent leaves for the status command, in status.json.
type notes struct {
	Link        Link      `json:"link"`
	Detail      string    `json:"detail,omitempty"`
	LastContact time.Time `json:"last_contact,omitzero"`
	Problems    []Problem `json:"problems,omitempty"`
}

// notesEvery bounds how often a mere change of the time of last contact is written.
const notesEvery = 15 * time.Second

// board keeps the notes. Failing to write them is logged and nothing more: they guard nothing.
type board struct {
	path string
	fs   durable.FS
	log  *slog.Logger

	mu      sync.Mutex
	notes   notes
	written time.Time
}

func newBoard(c Config) *board {
	b := &board{path: statusFile(c.DataDir), fs: c.FS, log: c.Log, notes: notes{Link: StateUnknown}}
	if old, err := os.ReadFile(b.path); err == nil {
		_ = json.Unmarshal(old, &b.notes) // a damaged note is a new one
	}
	return b
}

func (b *board) contact() {
	b.mu.Lock()
	defer b.mu.Unlock()
	changed := b.notes.Link != StateOK
	b.notes.Link, b.notes.Detail, b.notes.LastContact = StateOK, "", time.Now().UTC()
	if changed || time.Since(b.written) >= notesEvery {
		b.write()
	}
}

func (b *board) trouble(link Link, detail string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.notes.Link == link && b.notes.Detail == detail {
		return
	}
	b.notes.Link, b.notes.Detail = link, detail
	b.write()
}

func (b *board) problems(found []watch.Problem) {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := make([]Problem, 0, len(found))
	same := len(found) == len(b.notes.Problems)
	for i, p := range found {
		list = append(list, Problem{Path: p.Path, Cause: p.Cause.Error()})
		same = same && b.notes.Problems[i] == list[i]
	}
	if same {
		return
	}
	b.log.Warn("the watched folder holds what cannot be sent: see the status command", slog.Int("count", len(list)))
	b.notes.Problems = list
	b.write()
}

// stopped writes the last contact as the agent ends.
func (b *board) stopped() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.write()
}

// write replaces status.json; b.mu is held.
func (b *board) write() {
	b.written = time.Now()
	data, err := json.Marshal(b.notes)
	if err == nil {
		err = durable.WriteFile(b.fs, b.path, data)
	}
	if err != nil {
		b.log.Warn("the status cannot be written", slog.String("cause", shortCause(err)))
	}
}
