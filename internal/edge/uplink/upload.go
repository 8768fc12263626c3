package uplink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"kenkyo/internal/fault"
	"kenkyo/internal/lab"
)

// Upload is one submission to send.
type Upload struct {
	Key    string // Idempotency-Key and X-Request-ID: the same for every repetition
	Fields []Field
	Images []File
}

// Field is one text field of the form, in the order it is sent.
type Field struct{ Name, Value string }

// File is one image: where its bytes are and what they must digest to.
type File struct {
	Path   string
	Bytes  int64
	SHA256 string
}

// Accepted is the platform's answer to an upload.
type Accepted struct {
	RequestID lab.RequestID
	Clock     time.Time // the platform's, zero when it does not tell it
}

// Send uploads one submission and compares the digests the platform computed with those of the files.
// Errors carry a Problem. Verdict Refused also covers an answer that contradicts what was sent. fault.Corrupt when a file on disk
// is not there or not what it was.
func (c *Client) Send(ctx context.Context, u Upload) (Accepted, error) {
	const op = "uplink.Send"
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	body, length, kind, err := u.body(c.watch(cancel))
	if err != nil {
		return Accepted{}, fault.E(op, fault.Corrupt, err)
	}
	req, err := c.request(ctx, http.MethodPost, "/api/v1/images", "", body)
	if err != nil {
		return Accepted{}, errors.Join(fault.E(op, fault.Internal, err), body.Close())
	}
	req.ContentLength = length
	req.Header.Set("Content-Type", kind)
	req.Header.Set("Idempotency-Key", u.Key)
	req.Header.Set("X-Request-ID", u.Key)
	var answer struct {
		Status    string        `json:"status"`
		RequestID lab.RequestID `json:"request_id"`
		Images    []struct {
			ImageID string `json:"image_id"`
			SHA256  string `json:"sha256"`
		} `json:"images"`
	}
	clock, err := c.do(op, req, maxAnswer, &answer)
	if err != nil {
		return Accepted{}, err
	}
	if answer.RequestID == "" || answer.Status != "accepted" {
		return Accepted{}, fail(op, &Problem{
			Verdict: WaitAll, Status: http.StatusOK, Title: "the answer does not come from the platform",
			Detail: "it names no request",
		})
	}
	mismatch := func(detail string) error {
		return fail(op, &Problem{Verdict: Refused, Status: http.StatusOK, Title: "the platform received other images than were sent", Detail: detail})
	}
	if len(answer.Images) != len(u.Images) {
		return Accepted{}, mismatch(fmt.Sprintf("%d images instead of %d", len(answer.Images), len(u.Images)))
	}
	for i, img := range answer.Images {
		if !strings.EqualFold(img.SHA256, u.Images[i].SHA256) {
			return Accepted{}, mismatch(fmt.Sprintf("image %d has another SHA-256", i+1))
		}
	}
	return Accepted{RequestID: answer.RequestID, Clock: clock}, nil
}

var errStalled = errors.New("the upload does not move")

// watch gives a function to call on progress; without a call for the stall time it ends the upload. The returned stop must be called.
func (c *Client) watch(cancel context.CancelCauseFunc) *watchdog {
	w := &watchdog{stall: c.config.Stall}
	w.timer = time.AfterFunc(c.config.Stall, func() {
		if !w.done.Load() {
			cancel(errStalled)
		}
	})
	return w
}

type watchdog struct {
	stall time.Duration
	timer *time.Timer
	done  atomic.Bool
}

func (w *watchdog) moved() {
	if !w.done.Load() {
		w.timer.Reset(w.stall)
	}
}

func (w *watchdog) stop() {
	w.done.Store(true)
	w.timer.Stop()
}

// body lays the form out: every part header is made beforehand, so that the length is known and the files are streamed.
func (u Upload) body(w *watchdog) (io.ReadCloser, int64, string, error) {
	b := &body{dog: w}
	var head bytes.Buffer
	form := multipart.NewWriter(&head)
	if err := form.SetBoundary("kenkyo-" + u.Key); err != nil {
		w.stop()
		return nil, 0, "", err
	}
	for _, f := range u.Fields {
		if err := form.WriteField(f.Name, f.Value); err != nil {
			w.stop()
			return nil, 0, "", err
		}
	}
	var parts []io.Reader
	length := int64(0)
	flush := func() {
		length += int64(head.Len())
		parts = append(parts, bytes.NewReader(bytes.Clone(head.Bytes())))
		head.Reset()
	}
	for i, img := range u.Images {
		f, err := openExact(img)
		if err != nil {
			return nil, 0, "", errors.Join(err, b.Close())
		}
		b.files = append(b.files, f)
		name := fmt.Sprintf("%03d%s", i+1, filepath.Ext(img.Path)) // the hospital's own file name stays in the hospital
		if _, err := form.CreatePart(imageHeader(name)); err != nil {
			return nil, 0, "", errors.Join(err, b.Close())
		}
		flush()
		parts = append(parts, io.LimitReader(f, img.Bytes))
		length += img.Bytes
	}
	if err := form.Close(); err != nil {
		return nil, 0, "", errors.Join(err, b.Close())
	}
	flush()
	b.Reader = io.MultiReader(parts...)
	return b, length, form.FormDataContentType(), nil
}

var kinds = map[string]string{".jpg": "image/jpeg", ".png": "image/png", ".bmp": "image/bmp", ".tiff": "image/tiff", ".webp": "image/webp"}

func imageHeader(name string) textproto.MIMEHeader {
	kind := kinds[filepath.Ext(name)]
	if kind == "" {
		kind = "application/octet-stream"
	}
	h := textproto.MIMEHeader{}
	h.Set("Content-Disposition", `form-data; name="image"; filename="`+name+`"`)
	h.Set("Content-Type", kind)
	return h
}

func openExact(img File) (*os.File, error) {
	f, err := os.Open(img.Path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.Size() != img.Bytes {
		err = errors.New("a stored image has changed its length")
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// body reads the form and closes its files.
type body struct {
	io.Reader
	files []*os.File
	dog   *watchdog
}

// Read tells the watchdog that the transport took what it got before and asks for more.
func (b *body) Read(p []byte) (int, error) {
	b.dog.moved()
	n, err := b.Reader.Read(p)
	if err != nil {
		b.dog.stop() // all is read: the answer has its own time limit
	}
	return n, err
}

func (b *body) Close() error {
	b.dog.stop()
	var err error
	for _, f := range b.files {
		err = errors.Join(err, f.Close())
	}
	b.files = nil
	return err
}
