package store

import (
	"database/sql"

	"github.com/uptrace/bun"
)

type facilityRow struct {
	bun.BaseModel `bun:"table:facility"`

	ID            string `bun:"id,pk"`
	Name          string `bun:"name"`
	WrappedKeyset []byte `bun:"wrapped_keyset"`
	WrappedIndex  []byte `bun:"wrapped_index"`
	CreatedAt     int64  `bun:"created_at"`
}

type counterRow struct {
	bun.BaseModel `bun:"table:release_counter"`

	FacilityID string `bun:"facility_id,pk"`
	Sequence   int64  `bun:"sequence"`
	ReleasedAt int64  `bun:"released_at"`
}

type deviceRow struct {
	bun.BaseModel `bun:"table:device"`

	ID           string        `bun:"id,pk"`
	FacilityID   string        `bun:"facility_id"`
	Name         string        `bun:"name"`
	Assay        string        `bun:"assay"`
	IsDesignated bool          `bun:"is_designated"`
	TokenHash    []byte        `bun:"token_hash"`
	EnrolledAt   int64         `bun:"enrolled_at"`
	RevokedAt    sql.NullInt64 `bun:"revoked_at"`
}

type invitationRow struct {
	bun.BaseModel `bun:"table:invitation"`

	CodeHash     []byte        `bun:"code_hash,pk"`
	FacilityID   string        `bun:"facility_id"`
	DeviceName   string        `bun:"device_name"`
	Assay        string        `bun:"assay"`
	IsDesignated bool          `bun:"is_designated"`
	ExpiresAt    int64         `bun:"expires_at"`
	UsedAt       sql.NullInt64 `bun:"used_at"`
}

type specimenRow struct {
	bun.BaseModel `bun:"table:specimen"`

	FacilityID     string `bun:"facility_id,pk"`
	SpecimenMAC    []byte `bun:"specimen_mac,pk"`
	SpecimenSealed []byte `bun:"specimen_sealed"`
	WrappedKey     []byte `bun:"wrapped_key"`
	CreatedAt      int64  `bun:"created_at"`
}

type imageSetRow struct {
	bun.BaseModel `bun:"table:image_set"`

	RequestID       string        `bun:"request_id,pk"`
	FacilityID      string        `bun:"facility_id"`
	DeviceID        string        `bun:"device_id"`
	SpecimenMAC     []byte        `bun:"specimen_mac"`
	Assay           string        `bun:"assay"`
	ConditionName   string        `bun:"condition_name"`
	Priority        string        `bun:"priority"`
	CapturedAt      sql.NullInt64 `bun:"captured_at"`
	PixelSizeUM     float64       `bun:"pixel_size_um"`
	FirstPassSealed []byte        `bun:"first_pass_sealed,nullzero"`
	Flags           string        `bun:"flags"`
	IdentityMAC     []byte        `bun:"identity_mac,nullzero"`
	BodyMAC         []byte        `bun:"body_mac"`
	OpenImages      int           `bun:"open_images"`
	TraceID         string        `bun:"trace_id"`
	ReceivedAt      int64         `bun:"received_at"`
}

type fieldImageRow struct {
	bun.BaseModel `bun:"table:field_image"`

	ID             string         `bun:"id,pk"`
	RequestID      string         `bun:"request_id"`
	FacilityID     string         `bun:"facility_id"`
	Ordinal        int            `bun:"ordinal"`
	ImageID        string         `bun:"image_id"`
	FileNameSealed []byte         `bun:"file_name_sealed,nullzero"`
	SHA256         string         `bun:"sha256"`
	Bytes          int64          `bun:"bytes"`
	Format         string         `bun:"format"`
	WidthPx        int            `bun:"width_px"`
	HeightPx       int            `bun:"height_px"`
	WrappedKey     []byte         `bun:"wrapped_key"`
	Model          string         `bun:"model"`
	State          string         `bun:"state"`
	Urgency        int            `bun:"urgency"`
	ReceivedAt     int64          `bun:"received_at"`
	AvailableAt    int64          `bun:"available_at"`
	ClaimToken     sql.NullString `bun:"claim_token"`
	ClaimOwner     sql.NullString `bun:"claim_owner"`
	LeaseUntil     sql.NullInt64  `bun:"lease_until"`
	LostLeases     int            `bun:"lost_leases"`
	ReviewReason   string         `bun:"review_reason"`
	RejectReason   string         `bun:"reject_reason"`
	SettledAt      sql.NullInt64  `bun:"settled_at"`
}

type detectionRow struct {
	bun.BaseModel `bun:"table:detection"`

	FieldImageID string `bun:"field_image_id,pk"`
	Model        string `bun:"model"`
	ModelDigest  string `bun:"model_digest"`
	Findings     string `bun:"findings"`
	Lineage      string `bun:"lineage"`
	DetectedAt   int64  `bun:"detected_at"`
}

type reportRow struct {
	bun.BaseModel `bun:"table:report"`

	FacilityID   string `bun:"facility_id,pk"`
	Sequence     int64  `bun:"sequence,pk"`
	RequestID    string `bun:"request_id"`
	DeviceID     string `bun:"device_id"`
	Version      int    `bun:"version"`
	Status       string `bun:"status"`
	Body         string `bun:"body"`
	ClassifiedBy string `bun:"classified_by"`
	ClassifiedAt int64  `bun:"classified_at"`
	ReleasedAt   int64  `bun:"released_at"`
}

type auditRow struct {
	bun.BaseModel `bun:"table:audit_event"`

	ID         string `bun:"id,pk"`
	At         int64  `bun:"at"`
	FacilityID string `bun:"facility_id"`
	Actor      string `bun:"actor"`
	Action     string `bun:"action"`
	Object     string `bun:"object"`
	Detail     string `bun:"detail"`
	TraceID    string `bun:"trace_id"`
}
