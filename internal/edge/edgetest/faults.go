package edgetest

import (
	"io"
	"net/http"
	"net/http/httptest"
)

// Unavailable answers 503 with a Retry-After header, after reading nothing.
func Unavailable(retryAfter string) Fault {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		if retryAfter != "" {
			w.Header().Set("Retry-After", retryAfter)
		}
		Problem(w, http.StatusServiceUnavailable, "Service Unavailable", "too much work")
		return true
	}
}

// Status answers with a status and, like a proxy, a page of HTML.
func Status(code int) Fault {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(code)
		_, _ = io.WriteString(w, "<html>please sign in</html>")
		return true
	}
}

// Refuse answers with a problem document of the platform.
func Refuse(code int) Fault {
	return func(w http.ResponseWriter, r *http.Request) bool {
		_, _ = io.Copy(io.Discard, r.Body)
		Problem(w, code, "Unprocessable Entity", "the assay is not known")
		return true
	}
}

// Cut reads a part of the body and drops the connection.
func Cut(after int64) Fault {
	return func(_ http.ResponseWriter, r *http.Request) bool {
		_, _ = io.CopyN(io.Discard, r.Body, after)
		panic(http.ErrAbortHandler)
	}
}

// Lose does everything a good answer needs, then drops the connection instead of answering.
func (p *Platform) Lose() Fault {
	return func(_ http.ResponseWriter, r *http.Request) bool {
		p.accept(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	}
}

// WrongDigest accepts, but answers with another digest than that of what it received.
func (p *Platform) WrongDigest() Fault {
	return func(w http.ResponseWriter, r *http.Request) bool {
		rec := httptest.NewRecorder()
		p.accept(rec, r)
		answer(w, map[string]any{"status": "accepted", "request_id": "req_odd", "images": []map[string]string{{"image_id": "img-001", "sha256": "00"}}})
		return true
	}
}

// Stall reads nothing and answers nothing until the test ends.
func (p *Platform) Stall() Fault {
	return func(http.ResponseWriter, *http.Request) bool {
		<-p.closing
		return true
	}
}
