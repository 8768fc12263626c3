package intake

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"

	"kenkyo/internal/fault"
	"kenkyo/internal/lab"
	"kenkyo/internal/standard/imagefile"
	"kenkyo/internal/trust/seal"
)

// imagePart is one image of a form: sealed into a blob that is not committed yet.
type imagePart struct {
	id       lab.FieldImageID
	key      seal.ImageKey
	blob     BlobWriter
	fileName string
	sha256   string
	info     imagefile.Info
}

var copyBuffers = sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }}

// storeImage streams one image part through structural check and digest into a sealed blob. In: encoded image of any format of
// imagefile. Errors: Invalid for an empty, unknown, truncated or oversized picture, TooLarge above the byte limit, Unavailable
// from the blob store. No plaintext is kept anywhere.
func (s *Service) storeImage(ctx context.Context, facility lab.FacilityID, p *Part) (*imagePart, error) {
	const op = "intake.storeImage"
	im := &imagePart{id: lab.NewFieldImageID(), key: seal.NewImageKey(), fileName: p.FileName}
	if len(im.fileName) > maxShortField {
		return nil, invalid(op, "image", "file name is longer than %d bytes", maxShortField)
	}
	blob, err := s.blobs.Create(ctx, BlobKey(im.id))
	if err != nil {
		return nil, fault.E(op, fault.Unavailable, err)
	}
	im.blob = blob
	if err := s.sealInto(im, facility, p.Body); err != nil {
		blob.Abort()
		return nil, err
	}
	return im, nil
}

func (s *Service) sealInto(im *imagePart, facility lab.FacilityID, body io.Reader) error {
	const op = "intake.sealInto"
	sealed, err := im.key.SealingWriter(im.blob, facility, im.id)
	if err != nil {
		return err
	}
	digest := sha256.New()
	check := imagefile.NewChecker(imagefile.Limits{MaxPixels: s.limits.MaxPixels})
	buf, _ := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buf)
	var total int64
	for {
		n, err := body.Read(*buf)
		chunk := (*buf)[:n]
		if total += int64(n); total > s.limits.MaxImageBytes {
			return fault.E(op, fault.TooLarge, fmt.Errorf("image is larger than %d MiB", s.limits.MaxImageBytes>>20), fault.Field("image"))
		}
		if _, err := check.Write(chunk); err != nil {
			return fault.E(op, fault.Invalid, err, fault.Field("image"))
		}
		digest.Write(chunk)
		if _, err := sealed.Write(chunk); err != nil {
			return fault.E(op, fault.Unavailable, err)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	clear(*buf)
	if im.info, err = check.Finish(); err != nil {
		return fault.E(op, fault.Invalid, err, fault.Field("image"))
	}
	im.sha256 = hex.EncodeToString(digest.Sum(nil))
	if err := sealed.Close(); err != nil {
		return fault.E(op, fault.Unavailable, err)
	}
	return nil
}
