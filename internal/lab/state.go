package lab

import "slices"

// ImageState is where one field image stands. The constants are in life order.
type ImageState string

// The states of an image and who moves it there.
const (
	StateReceived ImageState = "received"  // intake, when the submission is durable
	StateClaimed  ImageState = "claimed"   // an inference process, under a lease
	StateDetected ImageState = "detected"  // the same process, when the model has spoken
	StateInReview ImageState = "in_review" // routing, when a person must decide
	StateDecided  ImageState = "decided"   // routing, when every finding is confident; later a technician
	StateReleased ImageState = "released"  // release, with the report that holds the image's classifications
	StateRejected ImageState = "rejected"  // detection, with a RejectReason
	StateErased   ImageState = "erased"    // erasure: the keys are gone
)

// RejectReason says why an image ended without an answer.
type RejectReason string

// The reasons. "corrupt" is an alarm: stored bytes are missing or are not what was stored.
const (
	RejectCorrupt    RejectReason = "corrupt"          // blob missing or not authentic
	RejectUnreadable RejectReason = "unreadable"       // authentic bytes that no decoder can read to the end
	RejectTooLarge   RejectReason = "too_many_pixels"  // more pixels than the limit, seen only when decoding
	RejectNoModel    RejectReason = "no_model_version" // reserved for an assay whose model was withdrawn
)

// imageMoves is the whole life of an image; every other move is a Conflict.
var imageMoves = map[ImageState][]ImageState{
	StateReceived: {StateClaimed, StateErased},
	StateClaimed:  {StateReceived, StateDetected, StateInReview, StateRejected, StateErased},
	StateDetected: {StateInReview, StateDecided, StateErased},
	StateInReview: {StateDecided, StateRejected, StateErased},
	StateDecided:  {StateReleased, StateErased},
	StateReleased: {StateErased},
	StateRejected: {StateErased},
	StateErased:   {},
}

// ImageStates lists the states in life order.
func ImageStates() []ImageState {
	return []ImageState{
		StateReceived, StateClaimed, StateDetected, StateInReview, StateDecided, StateReleased, StateRejected, StateErased,
	}
}

// CanMove reports whether an image may go from one state to the other.
func CanMove(from, to ImageState) bool { return slices.Contains(imageMoves[from], to) }

// IsSettled reports whether nothing more will happen to an image before its report is released.
func (s ImageState) IsSettled() bool {
	return s == StateDecided || s == StateReleased || s == StateRejected || s == StateErased
}

// ReportStatus is the standing of one version of a report, in the words of HL7 and FHIR.
type ReportStatus string

// The statuses.
const (
	ReportPreliminary ReportStatus = "preliminary"
	ReportFinal       ReportStatus = "final"
	ReportAmended     ReportStatus = "amended"
	ReportCancelled   ReportStatus = "cancelled" // no image of the request could be read, or the report was recalled
)

// Priority orders waiting work.
type Priority string

// The priorities of HL7 table 0027 that a hospital may send.
const (
	PriorityRoutine Priority = "routine"
	PrioritySTAT    Priority = "stat"
)
