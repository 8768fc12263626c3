package intake

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"kenkyo/internal/fault"
	"kenkyo/internal/lab"
	"kenkyo/internal/trust/seal"
)

// Limits of text fields, in bytes. 199 is the length of HL7 v2 entity identifiers.
const (
	maxIdentifier     = 199
	maxShortField     = 4 << 10
	maxClassification = 256 << 10
	maxIdempotencyKey = 255
	maxAhead          = 24 * time.Hour
)

var fieldNames = []string{
	"image", "specimen_id", "classification", "captured_at", "assay", "condition", "priority", "pixel_size_um", "image_id",
}

// form is one submission while its parts arrive.
type form struct {
	texts    map[string]string
	imageIDs []lab.ImageID
	images   []*imagePart

	specimen    lab.SpecimenID
	assay       *lab.Assay
	condition   string
	model       string
	priority    lab.Priority
	capturedAt  time.Time
	pixelSizeUM float64
	firstPass   []byte
	flags       []string
}

// abort forgets images that were not committed.
func (f *form) abort() {
	for _, im := range f.images {
		im.blob.Abort()
	}
}

// commit makes every image durable.
func (f *form) commit(ctx context.Context) error {
	for _, im := range f.images {
		if err := im.blob.Commit(ctx); err != nil {
			return err
		}
	}
	return nil
}

// readForm takes the parts as they come, in any order. The form is returned even with an error, to be aborted.
func (s *Service) readForm(ctx context.Context, dev lab.Device, parts Parts) (*form, error) {
	const op = "intake.readForm"
	f := &form{texts: make(map[string]string)}
	for {
		p, err := parts.Next()
		if errors.Is(err, io.EOF) {
			return f, nil
		}
		if err != nil {
			return f, err
		}
		switch {
		case p.Name == "image":
			if len(f.images) == s.limits.MaxImages {
				return f, invalid(op, "image", "more than %d images; send the rest in another request", s.limits.MaxImages)
			}
			im, err := s.storeImage(ctx, dev.Facility, p)
			if err != nil {
				return f, err
			}
			f.images = append(f.images, im)
		case p.Name == "image_id":
			if len(f.imageIDs) == s.limits.MaxImages {
				return f, invalid(op, "image_id", "more than %d image_id parts", s.limits.MaxImages)
			}
			v, err := readText(p, maxShortField)
			if err != nil {
				return f, err
			}
			f.imageIDs = append(f.imageIDs, lab.ImageID(v))
		case slices.Contains(fieldNames, p.Name):
			if _, twice := f.texts[p.Name]; twice {
				return f, invalid(op, p.Name, "given more than once")
			}
			limit := maxShortField
			if p.Name == "classification" {
				limit = maxClassification
			}
			v, err := readText(p, limit)
			if err != nil {
				return f, err
			}
			f.texts[p.Name] = v
		default:
			return f, invalid(op, clip(p.Name), "unknown field; valid: %s", strings.Join(fieldNames, ", "))
		}
	}
}

// validate holds every field against its rule and fills the typed ones.
func (f *form) validate(assays Assays, dev lab.Device, now time.Time) error {
	const op = "intake.validate"
	specimen, given := f.texts["specimen_id"]
	if !given {
		return invalid(op, "specimen_id", "is missing")
	}
	if err := identifier("specimen_id", specimen); err != nil {
		return err
	}
	f.specimen = lab.SpecimenID(specimen)
	if len(f.images) == 0 {
		return invalid(op, "image", "is missing: send at least one image")
	}
	if err := f.nameImages(); err != nil {
		return err
	}
	if err := f.chooseAssay(assays, dev); err != nil {
		return err
	}
	switch p := lab.Priority(f.texts["priority"]); p {
	case "":
		f.priority = lab.PriorityRoutine
	case lab.PriorityRoutine, lab.PrioritySTAT:
		f.priority = p
	default:
		return invalid(op, "priority", "must be routine or stat")
	}
	if v, ok := f.texts["pixel_size_um"]; ok {
		um, err := strconv.ParseFloat(v, 64)
		if err != nil || !(um > 0 && um <= 1000) { // the negated form also refuses NaN
			return invalid(op, "pixel_size_um", "must be a number of micrometres above 0 and at most 1000")
		}
		f.pixelSizeUM = um
	}
	if v, ok := f.texts["classification"]; ok {
		var c any
		if err := json.Unmarshal([]byte(v), &c); err != nil {
			return invalid(op, "classification", "is not valid JSON")
		}
		switch c.(type) {
		case map[string]any, []any:
			f.firstPass = []byte(v)
		default:
			return invalid(op, "classification", "must be a JSON object or array")
		}
	}
	return f.checkCapturedAt(now)
}

func (f *form) checkCapturedAt(now time.Time) error {
	v, given := f.texts["captured_at"]
	if !given {
		f.flags = append(f.flags, FlagCapturedMissing)
		return nil
	}
	t, err := time.Parse(time.RFC3339Nano, v)
	if err != nil {
		return invalid("intake.checkCapturedAt", "captured_at", "must be a time by RFC 3339 with its offset, such as 2025-01-15T10:00:00+09:00")
	}
	switch ahead := t.Sub(now); {
	case ahead > maxAhead:
		return invalid("intake.checkCapturedAt", "captured_at", "lies more than 24 h ahead of the platform's clock; check the sender's clock and time zone")
	case ahead > 0:
		f.flags = append(f.flags, FlagCapturedAhead)
	}
	f.capturedAt = t.UTC()
	return nil
}

func (f *form) chooseAssay(assays Assays, dev lab.Device) error {
	name := f.texts["assay"]
	if name == "" {
		name = dev.Assay
	}
	a, err := assays.Get(name)
	if err != nil {
		return err
	}
	f.assay, f.condition = a, f.texts["condition"]
	if f.model, err = assays.Route(a, f.condition); err != nil {
		return err
	}
	for i, im := range f.images {
		if !slices.Contains(a.Formats, string(im.info.Format)) {
			return invalid("intake.chooseAssay", "image", "image %d is %s; assay %s takes %s",
				i+1, im.info.Format, a.Name, strings.Join(a.Formats, ", "))
		}
	}
	return nil
}

// nameImages gives every image its name within the request.
func (f *form) nameImages() error {
	const op = "intake.nameImages"
	if len(f.imageIDs) == 0 {
		for i := range f.images {
			f.imageIDs = append(f.imageIDs, lab.ImageID(fmt.Sprintf("img-%03d", i+1)))
		}
		return nil
	}
	if len(f.imageIDs) != len(f.images) {
		return invalid(op, "image_id", "%d given for %d images; give one for each, in order, or none", len(f.imageIDs), len(f.images))
	}
	seen := make(map[lab.ImageID]bool, len(f.imageIDs))
	for _, id := range f.imageIDs {
		if err := identifier("image_id", string(id)); err != nil {
			return err
		}
		if seen[id] {
			return invalid(op, "image_id", "the same image_id is given twice")
		}
		seen[id] = true
	}
	return nil
}

// identity is what makes two submissions without a key the same one.
func (f *form) identity(fac *seal.Facility) []byte {
	digests := make([]string, len(f.images))
	for i, im := range f.images {
		digests[i] = im.sha256
	}
	slices.Sort(digests)
	return fac.MAC("submission", append([]string{string(f.specimen), f.assay.Name, f.condition}, digests...)...)
}

// body is the digest of everything submitted, to notice a key that is used for two things.
func (f *form) body(fac *seal.Facility) []byte {
	parts := []string{string(f.specimen), f.assay.Name, f.condition, string(f.priority), f.texts["captured_at"], f.texts["pixel_size_um"]}
	var compact bytes.Buffer
	if f.firstPass != nil && json.Compact(&compact, f.firstPass) == nil {
		parts = append(parts, compact.String())
	} else {
		parts = append(parts, "")
	}
	for i, im := range f.images {
		parts = append(parts, string(f.imageIDs[i]), im.sha256)
	}
	return fac.MAC("submission-body", parts...)
}

func readText(p *Part, limit int) (string, error) {
	b, err := io.ReadAll(io.LimitReader(p.Body, int64(limit)+1))
	if err != nil {
		return "", err
	}
	if len(b) > limit {
		return "", invalid("intake.readText", p.Name, "is longer than %d bytes", limit)
	}
	if !utf8.Valid(b) {
		return "", invalid("intake.readText", p.Name, "is not UTF-8")
	}
	return string(b), nil
}

func identifier(field, v string) error {
	switch {
	case strings.TrimSpace(v) == "":
		return invalid("intake.identifier", field, "is empty")
	case len(v) > maxIdentifier:
		return invalid("intake.identifier", field, "is longer than %d bytes", maxIdentifier)
	case !printable(v):
		return invalid("intake.identifier", field, "holds control characters or is not UTF-8")
	}
	return nil
}

func printable(v string) bool {
	return utf8.ValidString(v) && !strings.ContainsFunc(v, func(r rune) bool {
		return unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp, unicode.Cf)
	})
}

// clip keeps a hostile field name from filling an answer.
func clip(s string) string {
	const n = 64
	s = strings.ToValidUTF8(s, "?")
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}

func invalid(op, field, format string, args ...any) error {
	return fault.E(op, fault.Invalid, fmt.Errorf(format, args...), fault.Field(field))
}
