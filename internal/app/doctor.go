package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"kenkyo/internal/adapter/blob"
	"kenkyo/internal/adapter/store"
	"kenkyo/internal/clinic/intake"
	"kenkyo/internal/fault"
	"kenkyo/internal/lab"
	"kenkyo/internal/standard/imagefile"
)

// Diagnosis is what doctor found.
type Diagnosis struct {
	Images     int               // field images whose blob was looked at
	Violations []store.Violation // what breaks an invariant
}

// maxViolations bounds what one rule reports.
const maxViolations = 20

// Doctor holds the stored data against invariants 1 to 4, 6, 7 and 9 of docs/ARCHITECTURE.md. It opens the seal of every image and
// compares its digest; isQuick leaves the contents of blobs out. It changes nothing.
func (in *Installation) Doctor(ctx context.Context, isQuick bool) (*Diagnosis, error) {
	const op = "app.Doctor"
	rows, err := in.Store.CheckRows(ctx, maxViolations)
	if err != nil {
		return nil, fault.E(op, fault.Internal, err)
	}
	d := &Diagnosis{Violations: rows}
	err = in.Store.WalkBlobs(ctx, func(b store.StoredBlob) error {
		d.Images++
		if rule, invariant := in.checkBlob(ctx, b, isQuick); rule != "" {
			d.add(invariant, rule, string(b.ID))
		}
		return ctx.Err()
	})
	if err != nil {
		return nil, fault.E(op, fault.Internal, err)
	}
	return d, in.checkFiles(ctx, d)
}

func (d *Diagnosis) add(invariant int, rule, object string) {
	d.Violations = append(d.Violations, store.Violation{Invariant: invariant, Rule: rule, Object: object})
}

// checkBlob gives the rule that an image's bytes break, "" when none.
func (in *Installation) checkBlob(ctx context.Context, b store.StoredBlob, isQuick bool) (rule string, invariant int) {
	if b.State == lab.StateRejected && b.Reject == lab.RejectCorrupt {
		return "", 0 // known to be lost, reported to the hospital, may be sent again
	}
	r, err := in.Blobs.Open(ctx, intake.BlobKey(b.ID))
	if err != nil {
		return "the bytes of an accepted image exist", 1
	}
	defer func() { _ = r.Close() }()
	if isQuick {
		return "", 0
	}
	fac, err := in.Ring.Facility(ctx, b.Facility)
	if err != nil {
		return "the facility's keys open", 6
	}
	key, err := fac.OpenSpecimenKey(b.SpecimenMAC, b.SpecimenKey)
	if err != nil {
		return "the specimen's key opens", 6
	}
	if _, err := key.OpenField("specimen_id", b.SpecimenSealed); err != nil {
		return "the specimen's identifier is sealed by its key", 6
	}
	imageKey, err := key.UnwrapImageKey(b.ID, b.WrappedKey)
	if err != nil {
		return "the image's key opens", 6
	}
	plain, err := imageKey.OpenImage(r, b.Facility, b.ID, b.Bytes)
	if err != nil {
		return "the bytes of an accepted image open under its seal", 1
	}
	if sum := sha256.Sum256(plain); hex.EncodeToString(sum[:]) != b.SHA256 {
		return "the bytes of an accepted image are those that were sent", 1
	}
	return "", 0
}

// checkFiles looks at the data folder itself: modes, forgotten objects, and image bytes in clear.
func (in *Installation) checkFiles(ctx context.Context, d *Diagnosis) error {
	const op = "app.checkFiles"
	err := filepath.WalkDir(in.Config.Data, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, err := filepath.Rel(in.Config.Data, path)
		if err != nil || strings.HasPrefix(rel, "models"+string(filepath.Separator)) {
			return err // model packages hold a golden image, which shows no patient
		}
		info, err := e.Info()
		if err != nil {
			return nil //nolint:nilerr // a temporary file that is gone is no violation
		}
		if info.Mode().Perm()&0o077 != 0 {
			d.add(6, "files of the installation are private to its user", rel)
		}
		if isClear, err := isImage(path); err == nil && isClear {
			d.add(6, "no image is on disk in clear", rel)
		}
		return ctx.Err()
	})
	if err != nil {
		return fault.E(op, fault.Unavailable, err)
	}
	old := time.Now().Add(-2 * sweepAge)
	return in.walkImageBlobs(ctx, func(id lab.FieldImageID, modified time.Time) error {
		if modified.After(old) {
			return nil
		}
		owned, err := in.Store.OwnsBlob(ctx, id)
		if err == nil && !owned {
			d.add(2, "no blob is without its image an hour after it was written", string(id))
		}
		return err
	})
}

func isImage(path string) (bool, error) {
	f, err := os.Open(path) //nolint:gosec // a file of the data folder
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }()
	head := make([]byte, 16)
	n, err := io.ReadFull(f, head)
	if err != nil && n == 0 {
		return false, nil // an empty file is no image
	}
	return imagefile.Sniff(head[:n]) != "", nil
}

func (in *Installation) walkImageBlobs(ctx context.Context, fn func(id lab.FieldImageID, modified time.Time) error) error {
	return in.Blobs.Walk(ctx, "image", func(o blob.Object) error {
		_, id, _ := strings.Cut(o.Key, "/")
		return fn(lab.FieldImageID(id), o.Modified)
	})
}

// describe gives a violation as one line.
func describe(v store.Violation) string {
	return fmt.Sprintf("invariant %d: %s: %s", v.Invariant, v.Rule, v.Object)
}

// Lines gives the violations for a person to read.
func (d *Diagnosis) Lines() []string {
	lines := make([]string, len(d.Violations))
	for i, v := range d.Violations {
		lines[i] = describe(v)
	}
	return lines
}
