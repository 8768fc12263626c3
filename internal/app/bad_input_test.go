package app_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"kenkyo/internal/app"
	"kenkyo/internal/lab"
)

func slicesSort(s []string) { slices.Sort(s) }

// findInData gives a file of the data folder that holds the bytes, "" when none does.
func (s *site) findInData(needle []byte) string {
	s.t.Helper()
	found := ""
	err := filepath.WalkDir(s.in.Config.Data, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err == nil && bytes.Contains(b, needle) {
			found = path
		}
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return found
}

// bomb is a PNG of a few bytes that claims 30,000 × 30,000 px, padded to about 40 KB.
func bomb() []byte {
	var b bytes.Buffer
	b.WriteString("\x89PNG\r\n\x1a\n")
	chunk := func(kind string, data []byte) {
		_ = binary.Write(&b, binary.BigEndian, uint32(len(data))) //nolint:gosec // a few KB
		body := append([]byte(kind), data...)
		b.Write(body)
		_ = binary.Write(&b, binary.BigEndian, crc32.ChecksumIEEE(body))
	}
	header := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, 30000), 30000)
	chunk("IHDR", append(header, 8, 2, 0, 0, 0))
	chunk("IDAT", make([]byte, 40_000))
	chunk("IEND", nil)
	return b.Bytes()
}

func TestBadInput(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	token, _ := s.device(s.facility("one"))
	ok := smallPNG(t, 1)
	jpeg := bloodImage(t, 0)
	many := []part{specimen("S")}
	for range 1000 {
		many = append(many, image("a.png", ok))
	}
	future := func(d time.Duration) part { return field("captured_at", time.Now().Add(d).Format(time.RFC3339)) }
	tests := []struct {
		name   string
		parts  []part
		status int
		field  string // named by the problem document
		text   string // in its detail
	}{
		{"unknown assay", []part{specimen("S"), field("assay", "liver"), image("a.png", ok)}, 422, "assay", "blood-smear, gram-stain"},
		{"unknown condition", []part{specimen("S"), field("assay", "gram-stain"), field("condition", "wet"), image("a.png", ok)}, 422, "condition", "aerobic, anaerobic"},
		{"condition where there is none", []part{specimen("S"), field("condition", "wet"), image("a.png", ok)}, 422, "condition", "none"},
		{"format the assay does not take", []part{specimen("S"), field("assay", "no-model"), image("a.jpg", jpeg)}, 422, "image", "takes png"},
		{"no image", []part{specimen("S")}, 422, "image", "missing"},
		{"empty image", []part{specimen("S"), image("a.jpg", nil)}, 422, "image", "empty"},
		{"text named .jpg", []part{specimen("S"), image("a.jpg", []byte("this is no picture, whatever its name says"))}, 422, "image", "JPEG, PNG"},
		{"truncated JPEG", []part{specimen("S"), image("a.jpg", jpeg[:len(jpeg)/2])}, 422, "image", "truncated"},
		{"truncated PNG", []part{specimen("S"), image("a.png", ok[:len(ok)-8])}, 422, "image", "truncated"},
		{"PNG bomb", []part{specimen("S"), image("a.png", bomb())}, 422, "image", "pixel"},
		{"1,000 images", many, 422, "image", "100"},
		{"specimen_id missing", []part{image("a.png", ok)}, 422, "specimen_id", "missing"},
		{"specimen_id blank", []part{specimen("  "), image("a.png", ok)}, 422, "specimen_id", "empty"},
		{"specimen_id of 10 KB", []part{specimen(strings.Repeat("x", 10<<10)), image("a.png", ok)}, 422, "specimen_id", "longer"},
		{"specimen_id of 200 bytes", []part{specimen(strings.Repeat("x", 200)), image("a.png", ok)}, 422, "specimen_id", "longer"},
		{"specimen_id with a control character", []part{specimen("S\x07"), image("a.png", ok)}, 422, "specimen_id", "control"},
		{"specimen_id with a line break", []part{specimen("S\nT"), image("a.png", ok)}, 422, "specimen_id", "control"},
		{"specimen_id not UTF-8", []part{specimen("S\xff"), image("a.png", ok)}, 422, "specimen_id", "UTF-8"},
		{"specimen_id twice", []part{specimen("S"), specimen("T"), image("a.png", ok)}, 422, "specimen_id", "more than once"},
		{"captured_at not a time", []part{specimen("S"), field("captured_at", "yesterday"), image("a.png", ok)}, 422, "captured_at", "RFC 3339"},
		{"captured_at without offset", []part{specimen("S"), field("captured_at", "2025-01-15T10:00:00"), image("a.png", ok)}, 422, "captured_at", "RFC 3339"},
		{"captured_at 25 h ahead", []part{specimen("S"), future(25 * time.Hour), image("a.png", ok)}, 422, "captured_at", "24 h"},
		{"classification malformed", []part{specimen("S"), field("classification", `{"category":`), image("a.png", ok)}, 422, "classification", "JSON"},
		{"classification a number", []part{specimen("S"), field("classification", `7`), image("a.png", ok)}, 422, "classification", "object or array"},
		{"priority unknown", []part{specimen("S"), field("priority", "soon"), image("a.png", ok)}, 422, "priority", "stat"},
		{"pixel_size_um not a number", []part{specimen("S"), field("pixel_size_um", "NaN"), image("a.png", ok)}, 422, "pixel_size_um", "number"},
		{"image_id for one of two", []part{specimen("S"), field("image_id", "x"), image("a.png", ok), image("b.png", jpeg)}, 422, "image_id", "1 given for 2"},
		{"image_id twice the same", []part{specimen("S"), field("image_id", "x"), field("image_id", "x"), image("a.png", ok), image("b.png", jpeg)}, 422, "image_id", "twice"},
		{"unknown field", []part{specimen("S"), field("condtion", "aerobic"), image("a.png", ok)}, 422, "condtion", "unknown field"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ct, body := form(tt.parts...)
			var p problemAnswer
			resp := s.do(s.request(http.MethodPost, "/api/v1/images", token, ct, body), tt.status, &p)
			if got := resp.Header.Get("Content-Type"); got != "application/problem+json" {
				t.Errorf("Content-Type: got %q, want application/problem+json", got)
			}
			if len(p.Errors) != 1 || p.Errors[0].Location != "body."+tt.field {
				t.Errorf("problem: got %+v, want it to name body.%s", p, tt.field)
			}
			if !strings.Contains(p.Detail, tt.text) {
				t.Errorf("detail: got %q, want it to hold %q", p.Detail, tt.text)
			}
		})
	}
	t.Cleanup(func() {
		p, err := s.in.Store.Progress(t.Context())
		if err == nil && len(p) != 0 {
			t.Errorf("refused submissions left images: %v", p)
		}
	})
}

func TestPartsInAnyOrder(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	token, _ := s.device(s.facility("one"))
	parts := []part{
		image("a.png", smallPNG(t, 1)), specimen("S"), field("assay", "urine-sediment"), field("image_id", "left"), field("priority", "stat"),
		field("captured_at", "2025-01-15T10:00:00Z"), field("pixel_size_um", "0.25"), field("classification", "{}"),
	}
	want := ""
	for i := range parts {
		rotated := append(slices.Clone(parts[i:]), parts[:i]...)
		a := s.submit(token, rotated...)
		if want == "" {
			want = a.RequestID
		}
		if a.RequestID != want || a.Images[0].ImageID != "left" {
			t.Errorf("rotation %d: got %+v, want request %s with image left", i, a, want)
		}
	}
}

func TestCapturedAtAheadIsFlagged(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	token, _ := s.device(s.facility("one"))
	ahead := field("captured_at", time.Now().Add(23*time.Hour).Format(time.RFC3339))
	if a := s.submit(token, specimen("S"), ahead, image("a.png", smallPNG(t, 1))); !slices.Equal(a.Flags, []string{"captured_at_ahead"}) {
		t.Errorf("23 h ahead: got flags %v, want captured_at_ahead", a.Flags)
	}
	if a := s.submit(token, specimen("T"), image("a.png", smallPNG(t, 1))); !slices.Equal(a.Flags, []string{"captured_at_missing"}) {
		t.Errorf("not sent: got flags %v, want captured_at_missing", a.Flags)
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	token, id := s.device(s.facility("one"))
	ct, body := form(specimen("S"), image("a.png", smallPNG(t, 1)))
	try := func(name, authorization string, status int) {
		t.Helper()
		for _, path := range []string{"POST /api/v1/images", "GET /api/v1/results", "GET /api/v1/requests/req_x", "POST /api/v1/detect"} {
			method, path, _ := strings.Cut(path, " ")
			req := s.request(method, path, "", ct, body)
			req.Header.Set("Authorization", authorization)
			resp, err := http.DefaultTransport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != status || (status == 401 && resp.Header.Get("WWW-Authenticate") == "") {
				t.Errorf("%s token, %s %s: got %d, want %d with WWW-Authenticate", name, method, path, resp.StatusCode, status)
			}
		}
	}
	try("missing", "", 401)
	try("malformed", "Bearer", 401)
	try("wrong", "Bearer kdt_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", 401)
	try("other scheme", "Basic "+token, 401)
	if err := s.in.Identity.Revoke(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	try("revoked", "Bearer "+token, 401)
}

func TestEnrolmentCodeWorksOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	fac := s.facility("one")
	code, err := s.in.Identity.Invite(t.Context(), fac, "PC", "", false, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	expired, err := s.in.Identity.Invite(t.Context(), fac, "PC", "", false, -time.Second)
	if err != nil {
		t.Fatal(err)
	}
	enroll := func(code string, status int) {
		t.Helper()
		s.do(s.request(http.MethodPost, "/api/v1/devices:enroll", "", "application/json", fmt.Appendf(nil, `{"code":%q}`, code)), status, nil)
	}
	enroll("AAAAA-AAAAA-AAAAA-AAAAA", 401)
	enroll(expired, 401)
	enroll(strings.ToLower(strings.ReplaceAll(code, "-", " ")), 200) // as a person types it
	enroll(code, 401)
}

// A body that declares 100 MB is refused before any of it is read: nothing is sent here but the headers.
func TestLargeBodyIsRefusedUnread(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	token, _ := s.device(s.facility("one"))
	req := s.request(http.MethodPost, "/api/v1/images", token, "multipart/form-data; boundary=x", nil)
	req.Body = blockedBody{done: t.Context().Done()}
	req.ContentLength = 100 << 20
	req.Header.Set("Expect", "100-continue")
	client := &http.Transport{ExpectContinueTimeout: time.Minute}
	resp, err := client.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("100 MB body: got %d, want 413", resp.StatusCode)
	}
}

// blockedBody fails the exchange when anybody reads it before the answer.
type blockedBody struct{ done <-chan struct{} }

func (b blockedBody) Read([]byte) (int, error) { <-b.done; return 0, fmt.Errorf("body was read") }
func (b blockedBody) Close() error             { return nil }

func TestBodyErrors(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	token, _ := s.device(s.facility("one"))
	ct, body := form(specimen("S"), image("a.jpg", bloodImage(t, 0)))
	s.do(s.request(http.MethodPost, "/api/v1/images", token, "application/json", []byte("{}")), http.StatusUnsupportedMediaType, nil)
	s.do(s.request(http.MethodPost, "/api/v1/images", token, ct, body[:len(body)/2]), http.StatusUnprocessableEntity, nil)
	s.do(s.request(http.MethodPost, "/api/v1/images", token, ct, []byte("no form at all")), http.StatusUnprocessableEntity, nil)
	for _, query := range []string{"since=yesterday", "since=c1.zzzzzzzzzzzzzzzzzzzz", "since=c1.-1", "wait=1h", "wait=soon", "limit=0", "limit=5000"} {
		s.do(s.request(http.MethodGet, "/api/v1/results?"+query, token, "", nil), http.StatusUnprocessableEntity, nil)
	}
}

// blobFiles gives the files of stored images.
func (s *site) blobFiles() []string {
	s.t.Helper()
	files, err := filepath.Glob(filepath.Join(s.in.Config.Data, "blobs", "image", "*", "*"))
	if err != nil {
		s.t.Fatal(err)
	}
	return files
}

func TestLostAndTamperedBlobs(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(path string) error{
		"missing":  os.Remove,
		"cut":      func(p string) error { return os.Truncate(p, 100) },
		"flipped":  flipLastByte,
		"appended": appendByte,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			quiet := newSite(t, withRoles(app.RoleAPI)) // nobody detects yet
			token, _ := quiet.device(quiet.facility("one"))
			quiet.submit(token, specimen("S"), image("a.png", smallPNG(t, 1)))
			files := quiet.blobFiles()
			if len(files) != 1 {
				t.Fatalf("got %d blobs, want 1", len(files))
			}
			if err := damage(files[0]); err != nil {
				t.Fatal(err)
			}
			quiet.submit(token, specimen("T"), image("a.png", smallPNG(t, 2)))
			cfg := quiet.in.Config
			quiet.stop()

			cfg.Roles = []string{app.RoleAPI, app.RoleInference}
			s := openSite(t, cfg)
			got := s.await(token, "", 2)
			slices.SortFunc(got, func(a, b resultAnswer) int { return strings.Compare(a.SpecimenID, b.SpecimenID) })
			if got[0].Status != "cancelled" || len(got[0].Rejected) != 1 || got[0].Rejected[0].Reason != lab.RejectCorrupt {
				t.Errorf("damaged image: got %+v, want cancelled with the image rejected as corrupt", got[0])
			}
			if got[1].Status != "final" {
				t.Errorf("the other image: got %+v, want final: the rest goes on", got[1])
			}
			if !strings.Contains(s.metrics(), "kenkyo_images_corrupt_total 1") {
				t.Error("the alarm metric did not count")
			}
			again := s.submit(token, specimen("S"), image("a.png", smallPNG(t, 1)))
			if again.RequestID == got[0].RequestID {
				t.Error("sent again after a corrupt rejection: got the dead request")
			}
			s.await(token, "", 3)
			s.clean()
		})
	}
}

func flipLastByte(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	b[len(b)-1] ^= 1
	return os.WriteFile(path, b, 0o600)
}

func appendByte(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, 0), 0o600)
}

func TestModelChangedOnDiskIsRefused(t *testing.T) {
	t.Parallel()
	for name, pattern := range map[string]string{"weights": "*.onnx", "manifest": "model.yaml"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			cfg := s.in.Config
			s.stop()
			files, err := filepath.Glob(filepath.Join(cfg.Data, "models", "blood-smear", "*", pattern))
			if err != nil || len(files) != 1 {
				t.Fatalf("files of the package: got %v (%v), want one", files, err)
			}
			if err := errors.Join(os.Chmod(files[0], 0o600), appendByte(files[0])); err != nil {
				t.Fatal(err)
			}
			changed := openSite(t, cfg)
			token, _ := changed.device(changed.facility("one"))
			ct, body := form(image("a.png", smallPNG(t, 1)))
			changed.do(changed.request(http.MethodPost, "/api/v1/detect", token, ct, body), http.StatusServiceUnavailable, nil)
			if !strings.Contains(changed.log.String(), "refused") {
				t.Errorf("the log does not say that the package was refused:\n%s", changed.log.String())
			}
			// The other model is whole and goes on.
			ct, body = form(image("a.png", smallPNG(t, 1)), field("assay", "urine-sediment"))
			changed.do(changed.request(http.MethodPost, "/api/v1/detect", token, ct, body), http.StatusOK, nil)
		})
	}
}
