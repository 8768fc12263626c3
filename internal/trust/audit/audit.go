// Package audit holds the vocabulary of the audit trail: who did what to which record, when, and on whose behalf. Stores write
// an Event in the same transaction as the change that it records, so that neither exists without the other. Entries hold
// identifiers and digests, never patient text.
package audit

import (
	"time"

	"kenkyo/internal/lab"
)

// Action names what was done, "<noun>.<verb>".
type Action string

// The actions. Appended only: a stored trail outlives the program that wrote it.
const (
	FacilityCreated  Action = "facility.created"
	DeviceInvited    Action = "device.invited"
	DeviceEnrolled   Action = "device.enrolled"
	DeviceRevoked    Action = "device.revoked"
	RequestAccepted  Action = "request.accepted"
	ImageDetected    Action = "image.detected"
	ImageRejected    Action = "image.rejected"
	ReportReleased   Action = "report.released"
	ResultsRead      Action = "results.read"
	RequestRead      Action = "request.read"
	ModelAdded       Action = "model.added"
	BlobSweepDeleted Action = "blob.swept"
)

// Event is one entry of the trail.
type Event struct {
	At       time.Time
	Facility lab.FacilityID // "" for what concerns the whole installation
	Actor    string         // "device:dev_…", "model:<name>@<digest12>", "operator", "system"
	Action   Action
	Object   string // identifier of the record: request, image, device, report
	Detail   string // JSON object of identifiers, counts and digests, or ""
	TraceID  string // the request ID that links agent, platform and log lines
}
