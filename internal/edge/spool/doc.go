// Package spool is the agent's durable queue: one folder per submission, which moves from state to state by renaming.
//
//	waiting ──(accepted by the platform)──► sent ──(final result delivered)──► answered ──(a week later)──► gone
//	   │ ▲
//	   │ └──(a person: retry)── held ──(a person: discard)──► gone
//	   └────(refused for good)───►┘
//
// An item enters in a temporary folder that is renamed into waiting once every file in it is durable, so a crash leaves either a
// whole item or rubbish that Open removes. Every later step first writes the state it goes to into state.json, durably, then
// renames; Open completes a step that was cut between the two. Images are stored without metadata, readable by the agent's user
// only, and deleted as soon as the platform has accepted them. They are not encrypted: they lie on the hospital's own computer,
// in a folder of one user, for as long as the link is down.
//
// The spool does not speak to the network and does not know how long to wait between attempts.
//
// Locks: one process at a time owns the spool's movement (file "lock", taken by Open); adding, and a person's retry and discard,
// work beside it. File "add.lock" is held while a temporary folder exists. Inside a process Spool.mu guards the maps; it is never
// held while add.lock is waited for.
package spool

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"time"

	"kenkyo/internal/lab"
)

// ItemID names one submission of this agent and is its Idempotency-Key. Prefix "itm_"; sorts by time of creation.
type ItemID string

// State is where an item stands, in life order; each is the name of a folder.
type State string

// The states of an item.
const (
	Waiting  State = "waiting"  // Add; a person's retry
	Held     State = "held"     // the sender, when the platform refuses the item for good
	Sent     State = "sent"     // the sender, when the platform has accepted it
	Answered State = "answered" // the receiver, when a final result is delivered
)

var states = []State{Waiting, Held, Sent, Answered}

// Submission is what one request to the platform says.
type Submission struct {
	SpecimenID     lab.SpecimenID  `json:"specimen_id"`
	Assay          string          `json:"assay,omitempty"` // code; empty means the device's default
	Condition      string          `json:"condition,omitempty"`
	Priority       lab.Priority    `json:"priority,omitempty"`
	CapturedAt     time.Time       `json:"captured_at"`
	PixelSizeUM    float64         `json:"pixel_size_um,omitempty"` // micrometres a pixel; 0 means unknown
	Classification json.RawMessage `json:"classification,omitempty"`
}

// Item is one stored submission.
type Item struct {
	ID        ItemID    `json:"id"`
	CreatedAt time.Time `json:"created_at"`
	Submission
	Images []Image `json:"images"`
	Origin *Origin `json:"origin,omitempty"` // set for an item taken from a watched folder

	State  State  `json:"-"`
	Status Status `json:"-"`
	dir    string
}

// Image is one stored image of an item, in the order it is sent.
type Image struct {
	File   string `json:"file"`   // name inside the item's folder
	Name   string `json:"name"`   // name the hospital gave it; never sent
	SHA256 string `json:"sha256"` // lowercase hexadecimal, of the stored bytes
	Bytes  int64  `json:"bytes"`
}

// Path gives where an image of the item lies.
func (it *Item) Path(img Image) string { return filepath.Join(it.dir, img.File) }

// Origin names the files an item was made from, so that they can be moved away once the item is durable, also after a crash.
type Origin struct {
	Root  string       `json:"root"` // the watched folder
	Files []OriginFile `json:"files"`
}

// OriginFile is one file as it was when it was read; a file that changed since is another one.
type OriginFile struct {
	Path    string    `json:"path"` // relative to Root
	Bytes   int64     `json:"bytes"`
	ModTime time.Time `json:"mod_time"`
}

// Status is what changes about an item.
type Status struct {
	State      State         `json:"state"`
	Attempts   int           `json:"attempts,omitempty"`
	LastTry    time.Time     `json:"last_try,omitzero"`
	LastError  string        `json:"last_error,omitempty"`
	RequestID  lab.RequestID `json:"request_id,omitempty"`
	SentAt     time.Time     `json:"sent_at,omitzero"`
	Clock      time.Time     `json:"clock,omitzero"` // the platform's time at SentAt
	AnsweredAt time.Time     `json:"answered_at,omitzero"`
	Reason     *Reason       `json:"reason,omitempty"` // why it is held
}

// Reason is why the platform refused an item, in the words of its problem document (RFC 9457).
type Reason struct {
	Status int     `json:"status,omitempty"` // HTTP status; 0 when the agent itself found the fault
	Title  string  `json:"title,omitempty"`
	Detail string  `json:"detail,omitempty"`
	Errors []Field `json:"errors,omitempty"`
}

// Field is one fault in one field of a request.
type Field struct {
	Location string `json:"location,omitempty"`
	Message  string `json:"message,omitempty"`
}

// String gives the reason in one line. A fault that the detail has told already is not told again.
func (r *Reason) String() string {
	if r == nil {
		return ""
	}
	text := r.Title
	add := func(s string) {
		switch {
		case s == "":
		case text == "":
			text = s
		default:
			text += ": " + s
		}
	}
	add(r.Detail)
	for _, f := range r.Errors {
		if f.Message != "" && strings.Contains(r.Detail, f.Message) {
			continue
		}
		if f.Location != "" {
			add(f.Location + " " + f.Message)
			continue
		}
		add(f.Message)
	}
	return text
}
