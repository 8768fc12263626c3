package lab

import (
	"crypto/rand"
	"encoding/hex"
	"strings"

	"github.com/google/uuid"
)

// FacilityID names one hospital or laboratory: the unit of isolation. Prefix "fac_".
type FacilityID string

// DeviceID names one enrolled hospital agent. Prefix "dev_".
type DeviceID string

// RequestID names one accepted submission and the report that answers it. Issued by the platform, prefix "req_".
type RequestID string

// FieldImageID names one stored field image inside the platform and in associated data of its seal. Prefix "fld_".
type FieldImageID string

// SpecimenID is the hospital's own identifier of the material. It may hold a patient's number: it is stored sealed, found by
// keyed digest, and never logged.
type SpecimenID string

// ImageID is the name of an image inside its request, given by the hospital or "img-001", "img-002", …
type ImageID string

// ModelDigest is the SHA-256 of a model package's manifest, 64 lowercase hexadecimal digits. The manifest names the digests of
// weights and golden files, so it stands for the whole package.
type ModelDigest string

// Short gives the first 12 digits, enough to tell versions apart on a screen.
func (d ModelDigest) Short() string {
	if len(d) < 12 {
		return string(d)
	}
	return string(d[:12])
}

// ClaimToken fences a claim: completing an image needs the token its claim was given. Prefix "clm_".
type ClaimToken string

// NewFacilityID issues an identifier that sorts by time of issue.
func NewFacilityID() FacilityID { return FacilityID(newID("fac_")) }

// NewDeviceID issues an identifier that sorts by time of issue.
func NewDeviceID() DeviceID { return DeviceID(newID("dev_")) }

// NewRequestID issues an identifier that sorts by time of issue.
func NewRequestID() RequestID { return RequestID(newID("req_")) }

// NewFieldImageID issues an identifier that sorts by time of issue.
func NewFieldImageID() FieldImageID { return FieldImageID(newID("fld_")) }

// NewClaimToken issues an unguessable token.
func NewClaimToken() ClaimToken {
	var b [16]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never fails: it ends the program instead
	return ClaimToken("clm_" + hex.EncodeToString(b[:]))
}

// newID gives prefix + 32 hexadecimal digits of a version 7 UUID (RFC 9562), whose order by time keeps index pages together.
func newID(prefix string) string {
	return prefix + strings.ReplaceAll(uuid.Must(uuid.NewV7()).String(), "-", "")
}

// NewEventID issues an identifier of an audit event that sorts by time of issue. Prefix "evt_".
func NewEventID() string { return newID("evt_") }
