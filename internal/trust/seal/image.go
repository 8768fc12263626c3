package seal

import (
	"errors"
	"fmt"
	"io"

	"github.com/tink-crypto/tink-go/v2/streamingaead/subtle"

	"kenkyo/internal/fault"
	"kenkyo/internal/lab"
)

// segmentBytes is the ciphertext segment of the streaming cipher: what one open image stream keeps in memory, twice.
const segmentBytes = 64 << 10

// ImageKey is the 256-bit key of one image, made fresh for it.
type ImageKey [keyBytes]byte

// NewImageKey makes a key.
func NewImageKey() ImageKey {
	var k ImageKey
	copy(k[:], newKey())
	return k
}

// SealingWriter encrypts what is written to it into w (AES-256-GCM-HKDF streaming, 64 KiB segments). Close writes the last
// segment; without it the stream does not open. It does not close w.
func (k ImageKey) SealingWriter(w io.Writer, facility lab.FacilityID, image lab.FieldImageID) (io.WriteCloser, error) {
	const op = "seal.SealingWriter"
	c, err := subtle.NewAESGCMHKDF(k[:], "SHA256", keyBytes, segmentBytes, 0)
	if err != nil {
		return nil, fault.E(op, fault.Internal, err)
	}
	sw, err := c.NewEncryptingWriter(w, bind("image", string(facility), string(image)))
	if err != nil {
		return nil, fault.E(op, fault.Internal, err)
	}
	return sw, nil
}

// OpenImage decrypts a whole sealed image. plainBytes is its expected size and bounds the memory used. fault.Corrupt when the
// stream is not authentic, is cut short, is longer than expected, or belongs to another image or facility; a failure to read r
// keeps its own kind.
func (k ImageKey) OpenImage(r io.Reader, facility lab.FacilityID, image lab.FieldImageID, plainBytes int64) ([]byte, error) {
	const op = "seal.OpenImage"
	c, err := subtle.NewAESGCMHKDF(k[:], "SHA256", keyBytes, segmentBytes, 0)
	if err != nil {
		return nil, fault.E(op, fault.Internal, err)
	}
	src := &faultReader{r: r}
	dr, err := c.NewDecryptingReader(src, bind("image", string(facility), string(image)))
	if err == nil {
		b := make([]byte, plainBytes)
		if _, err = io.ReadFull(dr, b); err == nil {
			var extra [1]byte
			n, e := dr.Read(extra[:])
			if n == 0 && errors.Is(e, io.EOF) {
				return b, nil
			}
			err = fmt.Errorf("stream is longer than the %d bytes recorded", plainBytes)
		}
	}
	if src.err != nil {
		return nil, fault.E(op, fault.Unavailable, src.err)
	}
	return nil, fault.E(op, fault.Corrupt, fmt.Errorf("sealed image does not open: %w", err))
}

// faultReader remembers a failure of the underlying store, so that it is not mistaken for tampering.
type faultReader struct {
	r   io.Reader
	err error
}

func (f *faultReader) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		f.err = err
	}
	return n, err
}
