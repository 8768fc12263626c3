package httpapi

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"time"

	"kenkyo/internal/clinic/intake"
	"kenkyo/internal/fault"
)

// formParts walks a multipart body as a stream; it implements intake.Parts.
type formParts struct {
	mr *multipart.Reader
}

var errNotMultipart = errors.New("send multipart/form-data with a boundary")

// openForm starts to read a form. A body that declares more than limit is refused before a byte of it is read; one that turns out
// longer fails while it is read. A sender that stalls is cut.
func openForm(w http.ResponseWriter, r *http.Request, limit int64, stall time.Duration) (*formParts, error) {
	const op = "httpapi.openForm"
	mediaType, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || mediaType != "multipart/form-data" || params["boundary"] == "" {
		return nil, fault.E(op, fault.Invalid, errNotMultipart, fault.Field("Content-Type"))
	}
	if r.ContentLength > limit {
		return nil, tooLarge(op, limit)
	}
	body := &stallReader{
		r: http.MaxBytesReader(w, r.Body, limit), rc: http.NewResponseController(w), timeout: stall,
	}
	return &formParts{mr: multipart.NewReader(body, params["boundary"])}, nil
}

// Next implements intake.Parts.
func (f *formParts) Next() (*intake.Part, error) {
	p, err := f.mr.NextRawPart()
	if errors.Is(err, io.EOF) {
		return nil, io.EOF
	}
	if err != nil {
		return nil, bodyFault("httpapi.Next", err)
	}
	if enc := p.Header.Get("Content-Transfer-Encoding"); enc != "" && enc != "binary" && enc != "8bit" && enc != "7bit" {
		return nil, fault.E("httpapi.Next", fault.Invalid, fmt.Errorf("Content-Transfer-Encoding %.20q is not for HTTP (RFC 7578)", enc),
			fault.Field(p.FormName()))
	}
	return &intake.Part{Name: p.FormName(), FileName: p.FileName(), Body: faultBody{p}}, nil
}

// faultBody gives the errors of a part their kind.
type faultBody struct{ r io.Reader }

func (b faultBody) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = bodyFault("httpapi.Read", err)
	}
	return n, err
}

func bodyFault(op string, err error) error {
	var limit *http.MaxBytesError
	switch {
	case errors.As(err, &limit):
		return tooLarge(op, limit.Limit)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, http.ErrBodyReadAfterClose):
		return fault.E(op, fault.Invalid, errors.New("the body ends before its last boundary; send it again"))
	}
	return fault.E(op, fault.Invalid, errors.New("the body is no well-formed multipart form, or stopped arriving; send it again"))
}

func tooLarge(op string, limit int64) error {
	return fault.E(op, fault.TooLarge, fmt.Errorf("the body is larger than %d MiB; send fewer images in one request", limit>>20))
}

// stallReader moves the connection's read deadline on with every read, so that a slow link may take its time and a dead one may
// not.
type stallReader struct {
	r       io.Reader
	rc      *http.ResponseController
	timeout time.Duration
	next    time.Time
}

func (s *stallReader) Read(p []byte) (int, error) {
	if now := time.Now(); now.After(s.next) {
		// Not every connection has deadlines (tests over pipes); then the server's own timeouts apply.
		_ = s.rc.SetReadDeadline(now.Add(s.timeout))
		s.next = now.Add(s.timeout / 4)
	}
	n, err := s.r.Read(p)
	if errors.Is(err, io.EOF) {
		_ = s.rc.SetReadDeadline(time.Time{})
	}
	return n, err
}
