// Package identity knows who is calling: today the enrolled hospital agents, by bearer token. A token is 256 random bits and is
// kept as its SHA-256 only: it cannot be guessed, so a slow hash would cost time on the hot path and protect nothing.
package identity

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"kenkyo/internal/fault"
	"kenkyo/internal/lab"
)

// Code lifetime and token form.
const (
	DefaultCodeLifetime = 24 * time.Hour
	tokenPrefix         = "kdt_"
	maxNameBytes        = 200
)

// Invitation is a device that may enrol once.
type Invitation struct {
	CodeHash     []byte
	Facility     lab.FacilityID
	DeviceName   string
	Assay        string // default assay of the device; "" for none
	IsDesignated bool
	ExpiresAt    time.Time
}

// Store keeps devices and invitations; each change is one durable transaction with its audit event.
type Store interface {
	// Invite stores an invitation. fault.NotFound when the facility does not exist.
	Invite(ctx context.Context, inv Invitation) error
	// Enroll uses an invitation up and creates the device. fault.NotFound when no unused, unexpired invitation has this hash.
	Enroll(ctx context.Context, codeHash []byte, device lab.DeviceID, name string, tokenHash []byte, now time.Time) (*lab.Device, error)
	// DeviceByToken gives the device whose token has this hash; fault.NotFound when there is none or it is revoked.
	DeviceByToken(ctx context.Context, tokenHash []byte) (*lab.Device, error)
	// Revoke ends a device's access. fault.NotFound when there is no such device; revoking twice is no error.
	Revoke(ctx context.Context, id lab.DeviceID, now time.Time) error
}

// Service issues and checks credentials. Safe for concurrent use.
type Service struct {
	store Store
	now   func() time.Time
}

// New gives a service.
func New(store Store, now func() time.Time) *Service { return &Service{store: store, now: now} }

// Enrolled is what a device learns once, at enrolment.
type Enrolled struct {
	Device lab.Device
	Token  string // shown once; only its hash is stored
}

// Invite makes a one-time code by which one device may enrol until lifetime has passed.
func (s *Service) Invite(ctx context.Context, facility lab.FacilityID, name, assay string, isDesignated bool, lifetime time.Duration) (string, error) {
	const op = "identity.Invite"
	if err := checkName(name); err != nil {
		return "", fault.E(op, fault.Invalid, err, fault.Field("name"))
	}
	code := newCode()
	err := s.store.Invite(ctx, Invitation{
		CodeHash: hash(normalise(code)), Facility: facility, DeviceName: name, Assay: assay,
		IsDesignated: isDesignated, ExpiresAt: s.now().Add(lifetime),
	})
	if err != nil {
		return "", fault.E(op, fault.Internal, err)
	}
	return code, nil
}

// Enroll exchanges a code for a device token. name is the device's own name for itself; "" keeps the invited name.
// fault.Unauthenticated for a code that is wrong, used or expired: the three are not told apart to a guesser.
func (s *Service) Enroll(ctx context.Context, code, name string) (*Enrolled, error) {
	const op = "identity.Enroll"
	if name != "" {
		if err := checkName(name); err != nil {
			return nil, fault.E(op, fault.Invalid, err, fault.Field("name"))
		}
	}
	token := newToken()
	dev, err := s.store.Enroll(ctx, hash(normalise(code)), lab.NewDeviceID(), name, hash(token), s.now())
	if fault.Is(err, fault.NotFound) {
		return nil, fault.E(op, fault.Unauthenticated, errors.New("the enrolment code is wrong, used or expired; ask for a new one (kenkyo device enroll)"))
	}
	if err != nil {
		return nil, fault.E(op, fault.Internal, err)
	}
	return &Enrolled{Device: *dev, Token: token}, nil
}

// Authenticate gives the device of a bearer token; fault.Unauthenticated for every token that is not valid now.
func (s *Service) Authenticate(ctx context.Context, token string) (*lab.Device, error) {
	const op = "identity.Authenticate"
	if !strings.HasPrefix(token, tokenPrefix) {
		return nil, fault.E(op, fault.Unauthenticated, errors.New("missing or malformed device token; send Authorization: Bearer <device token>"))
	}
	dev, err := s.store.DeviceByToken(ctx, hash(token))
	if fault.Is(err, fault.NotFound) {
		return nil, fault.E(op, fault.Unauthenticated, errors.New("the device token is not valid; enrol the device again"))
	}
	if err != nil {
		return nil, fault.E(op, fault.Internal, err)
	}
	return dev, nil
}

// Revoke ends a device's access at once.
func (s *Service) Revoke(ctx context.Context, id lab.DeviceID) error {
	if err := s.store.Revoke(ctx, id, s.now()); err != nil {
		return fault.E("identity.Revoke", fault.Internal, err)
	}
	return nil
}

func checkName(name string) error {
	if name == "" || len(name) > maxNameBytes || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return fmt.Errorf("must be 1 to %d bytes without control characters", maxNameBytes)
	}
	return nil
}

func newToken() string {
	var b [32]byte
	_, _ = rand.Read(b[:])
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(b[:])
}

// newCode gives 100 random bits in groups that a person can read over the telephone.
func newCode() string {
	var b [13]byte
	_, _ = rand.Read(b[:])
	s := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b[:])[:20]
	return s[:5] + "-" + s[5:10] + "-" + s[10:15] + "-" + s[15:]
}

func normalise(code string) string {
	return strings.ToUpper(strings.NewReplacer("-", "", " ", "").Replace(code))
}

func hash(s string) []byte {
	h := sha256.Sum256([]byte(s))
	return h[:]
}
