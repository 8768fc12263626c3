package seal

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"sync"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/aead/subtle"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"

	"kenkyo/internal/fault"
	"kenkyo/internal/lab"
)

const keyBytes = 32

// WrappedFacility is what a store keeps of a facility's keys.
type WrappedFacility struct {
	Keyset   []byte // Tink keyset sealed by the root
	IndexKey []byte // HMAC key sealed by the root; it does not rotate, since stored digests depend on it
}

// FacilityKeys reads the wrapped keys of a facility; fault.NotFound when there is no such facility.
type FacilityKeys interface {
	FacilityKeys(ctx context.Context, id lab.FacilityID) (WrappedFacility, error)
}

// Ring opens facility keys and keeps them open for the life of the process. Safe for concurrent use.
type Ring struct {
	root *Root
	keys FacilityKeys

	mu   sync.RWMutex
	open map[lab.FacilityID]*Facility
}

// NewRing gives a ring over root and the store of wrapped keys.
func NewRing(root *Root, keys FacilityKeys) *Ring {
	return &Ring{root: root, keys: keys, open: make(map[lab.FacilityID]*Facility)}
}

// NewFacility makes the keys of a new facility, wrapped. Nothing is stored.
func (r *Root) NewFacility(id lab.FacilityID) (WrappedFacility, error) {
	const op = "seal.NewFacility"
	h, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return WrappedFacility{}, fault.E(op, fault.Internal, err)
	}
	var buf bytes.Buffer
	if err := h.WriteWithAssociatedData(keyset.NewBinaryWriter(&buf), r.aead, bind("facility", string(id))); err != nil {
		return WrappedFacility{}, fault.E(op, fault.Internal, err)
	}
	index, err := r.aead.Encrypt(newKey(), bind("facility-index", string(id)))
	if err != nil {
		return WrappedFacility{}, fault.E(op, fault.Internal, err)
	}
	return WrappedFacility{Keyset: buf.Bytes(), IndexKey: index}, nil
}

// Facility opens a facility's keys. fault.NotFound for an unknown facility, fault.Corrupt when the root does not open them.
func (r *Ring) Facility(ctx context.Context, id lab.FacilityID) (*Facility, error) {
	const op = "seal.Facility"
	r.mu.RLock()
	f := r.open[id]
	r.mu.RUnlock()
	if f != nil {
		return f, nil
	}
	w, err := r.keys.FacilityKeys(ctx, id)
	if err != nil {
		return nil, fault.E(op, fault.Internal, err)
	}
	h, err := keyset.ReadWithAssociatedData(keyset.NewBinaryReader(bytes.NewReader(w.Keyset)), r.root.aead, bind("facility", string(id)))
	if err != nil {
		return nil, fault.E(op, fault.Corrupt, errors.New("the root key does not open this facility's keys"))
	}
	a, err := aead.New(h)
	if err != nil {
		return nil, fault.E(op, fault.Corrupt, err)
	}
	index, err := r.root.aead.Decrypt(w.IndexKey, bind("facility-index", string(id)))
	if err != nil {
		return nil, fault.E(op, fault.Corrupt, errors.New("the root key does not open this facility's index key"))
	}
	f = &Facility{id: id, aead: a, index: index}
	r.mu.Lock()
	r.open[id] = f
	r.mu.Unlock()
	return f, nil
}

// Facility seals and finds what belongs to one facility.
type Facility struct {
	id    lab.FacilityID
	aead  tink.AEAD
	index []byte
}

// ID names the facility whose keys these are.
func (f *Facility) ID() lab.FacilityID { return f.id }

// MAC gives the keyed digest (HMAC-SHA-256, 32 bytes) under which a value is found without being stored in clear. purpose
// separates uses; parts are length-prefixed, so that ("ab","c") and ("a","bc") differ.
func (f *Facility) MAC(purpose string, parts ...string) []byte {
	m := hmac.New(sha256.New, f.index)
	m.Write(bind(purpose, parts...))
	return m.Sum(nil)
}

// NewSpecimenKey makes the key of a new specimen and its wrapped form for the store.
func (f *Facility) NewSpecimenKey(specimenMAC []byte) (*SpecimenKey, []byte, error) {
	const op = "seal.NewSpecimenKey"
	raw := newKey()
	wrapped, err := f.aead.Encrypt(raw, bind("specimen", string(f.id), string(specimenMAC)))
	if err != nil {
		return nil, nil, fault.E(op, fault.Internal, err)
	}
	k, err := newSpecimenKey(f.id, raw)
	return k, wrapped, err
}

// OpenSpecimenKey opens a wrapped specimen key. fault.Corrupt when it is not the key of that specimen of this facility.
func (f *Facility) OpenSpecimenKey(specimenMAC, wrapped []byte) (*SpecimenKey, error) {
	raw, err := f.aead.Decrypt(wrapped, bind("specimen", string(f.id), string(specimenMAC)))
	if err != nil {
		return nil, fault.E("seal.OpenSpecimenKey", fault.Corrupt, errors.New("the facility's key does not open this specimen's key"))
	}
	return newSpecimenKey(f.id, raw)
}

// SpecimenKey seals the fields of one specimen and wraps the keys of its images.
type SpecimenKey struct {
	facility lab.FacilityID
	aead     *subtle.AESGCM
}

func newSpecimenKey(id lab.FacilityID, raw []byte) (*SpecimenKey, error) {
	a, err := subtle.NewAESGCM(raw)
	if err != nil {
		return nil, fault.E("seal.newSpecimenKey", fault.Corrupt, err)
	}
	return &SpecimenKey{facility: id, aead: a}, nil
}

// SealField seals one value of a named field.
func (k *SpecimenKey) SealField(field string, plain []byte) ([]byte, error) {
	b, err := k.aead.Encrypt(plain, bind("field", string(k.facility), field))
	if err != nil {
		return nil, fault.E("seal.SealField", fault.Internal, err)
	}
	return b, nil
}

// OpenField opens what SealField sealed under the same field name; fault.Corrupt otherwise.
func (k *SpecimenKey) OpenField(field string, sealed []byte) ([]byte, error) {
	b, err := k.aead.Decrypt(sealed, bind("field", string(k.facility), field))
	if err != nil {
		return nil, fault.E("seal.OpenField", fault.Corrupt, errors.New("sealed field does not open"))
	}
	return b, nil
}

// WrapImageKey wraps an image's key for the store.
func (k *SpecimenKey) WrapImageKey(image lab.FieldImageID, key ImageKey) ([]byte, error) {
	b, err := k.aead.Encrypt(key[:], bind("image-key", string(k.facility), string(image)))
	if err != nil {
		return nil, fault.E("seal.WrapImageKey", fault.Internal, err)
	}
	return b, nil
}

// UnwrapImageKey opens a wrapped image key; fault.Corrupt when it is not that image's.
func (k *SpecimenKey) UnwrapImageKey(image lab.FieldImageID, wrapped []byte) (ImageKey, error) {
	var key ImageKey
	raw, err := k.aead.Decrypt(wrapped, bind("image-key", string(k.facility), string(image)))
	if err != nil || len(raw) != len(key) {
		return key, fault.E("seal.UnwrapImageKey", fault.Corrupt, errors.New("wrapped image key does not open"))
	}
	copy(key[:], raw)
	return key, nil
}

// bind encodes a purpose and its parts so that no two different lists give the same bytes.
func bind(purpose string, parts ...string) []byte {
	b := make([]byte, 0, 96)
	for _, p := range append([]string{"kenkyo/1/" + purpose}, parts...) {
		b = binary.AppendUvarint(b, uint64(len(p)))
		b = append(b, p...)
	}
	return b
}

func newKey() []byte {
	b := make([]byte, keyBytes)
	_, _ = rand.Read(b) // never fails: crypto/rand ends the program instead
	return b
}
