package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"regexp"
	"runtime/debug"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/google/uuid"

	"kenkyo/internal/clinic/detect"
	"kenkyo/internal/clinic/intake"
	"kenkyo/internal/clinic/result"
	"kenkyo/internal/fault"
	"kenkyo/internal/lab"
	"kenkyo/internal/trust/identity"
)

// Observer hears what was answered, for metrics. Its methods must return at once.
type Observer interface {
	Answered(route string, status int, took time.Duration)
	Accepted(images int, bytes int64, isReplay bool)
	Refused(kind string)
}

// Assays is the catalogue shown to callers.
type Assays interface {
	Get(name string) (*lab.Assay, error)
	Names() []string
	Vocabulary(name string) *lab.Vocabulary
	Vocabularies() []string
}

// Options of a Server.
type Options struct {
	MaxBodyBytes  int64         // of one upload; more is 413
	MaxUploads    int           // uploads read at once; more are 503
	StallTimeout  time.Duration // an upload that sends nothing for this long is cut
	MaxImageBytes int64         // of one image for synchronous detection
	Version       string        // of the program, for OpenAPI
}

// Deps are the services that the routes call. Detect is nil in a process without the inference role.
type Deps struct {
	Identity *identity.Service
	Intake   *intake.Service
	Results  *result.Service
	Detect   *detect.Now
	Assays   Assays
	Observer Observer
	Log      *slog.Logger
	Metrics  http.Handler
	// Ready reports why the process cannot serve, nil when it can.
	Ready func(ctx context.Context) error
	// OnAccept is called after a submission became durable; may be nil.
	OnAccept func()
}

// Server routes requests. It is an http.Handler, safe for concurrent use.
type Server struct {
	Deps

	opt     Options
	log     *slog.Logger
	handler http.Handler
	uploads chan struct{}

	detecting chan struct{}
}

// New builds the routes.
func New(deps Deps, opt Options) *Server {
	s := &Server{Deps: deps, opt: opt, log: deps.Log, uploads: make(chan struct{}, opt.MaxUploads), detecting: make(chan struct{}, maxDetecting)}
	mux := http.NewServeMux()
	api := humago.New(mux, humaConfig(opt.Version))
	s.registerImages(mux, api)
	s.registerDetect(mux, api)
	s.registerResults(api)
	s.registerEnroll(api)
	s.registerAssays(api)
	openAnswers(api)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", s.readyz)
	if deps.Metrics != nil {
		mux.Handle("GET /metrics", deps.Metrics)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.writeProblem(w, r, fault.E("httpapi", fault.NotFound, errors.New("no such route; GET /openapi.json lists the routes")))
	})
	s.handler = s.trace(s.observe(mux))
	return s
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

func humaConfig(version string) huma.Config {
	c := huma.DefaultConfig("Kenkyo", version)
	c.Info.Description = "Microscope images in, signed results out. Errors are RFC 9457 problem documents."
	c.Info.License = &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"}
	c.Servers = []*huma.Server{{URL: "/"}}
	c.DocsPath = ""     // the bundled page loads scripts from elsewhere
	c.CreateHooks = nil // no $schema field: the contract's shapes are fixed
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"device": {Type: "http", Scheme: "bearer", Description: "device token, from enrolment"},
	}
	return c
}

func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	if err := s.Ready(r.Context()); err != nil {
		s.writeProblem(w, r, fault.E("httpapi.readyz", fault.Unavailable, err))
		return
	}
	_, _ = w.Write([]byte("ok\n"))
}

type contextKey int

const traceKey contextKey = iota

// traceID gives the ID that links the agent's request, our log lines and the audit trail.
func traceID(ctx context.Context) string {
	id, _ := ctx.Value(traceKey).(string)
	return id
}

var traceForm = regexp.MustCompile(`^[A-Za-z0-9._-]{1,100}$`)

// trace takes the caller's X-Request-ID when it is well formed, and makes one otherwise.
func (s *Server) trace(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get("X-Request-ID")
		if !traceForm.MatchString(id) {
			id = uuid.NewString()
		}
		w.Header().Set("X-Request-ID", id)
		w.Header().Set("Cache-Control", "no-store") // answers hold patient data
		w.Header().Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), traceKey, id)))
	})
}

// observe logs and measures every answer and turns a panic into a 500.
func (s *Server) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		rec := &recorder{ResponseWriter: w, status: http.StatusOK}
		defer func() {
			if v := recover(); v != nil {
				s.log.LogAttrs(r.Context(), slog.LevelError, "panic", slog.String("trace", traceID(r.Context())),
					slog.Any("value", v), slog.String("stack", string(debug.Stack())))
				if !rec.isWritten {
					problemOf(fault.E("httpapi", fault.Internal, errors.New("panic"))).write(rec)
				}
			}
			took := time.Since(start)
			route := r.Pattern // set by the mux; it holds no identifiers
			if route == "" {
				route = "unknown"
			}
			s.Observer.Answered(route, rec.status, took)
			s.log.LogAttrs(r.Context(), slog.LevelInfo, "answered", slog.String("trace", traceID(r.Context())),
				slog.String("route", route), slog.Int("status", rec.status), slog.Duration("took", took))
		}()
		next.ServeHTTP(rec, r)
	})
}

// recorder remembers the status of an answer.
type recorder struct {
	http.ResponseWriter

	status    int
	isWritten bool
}

func (r *recorder) WriteHeader(status int) {
	if !r.isWritten {
		r.status, r.isWritten = status, true
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	r.isWritten = true
	return r.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// device gives the caller of a request by its bearer token; fault.Unauthenticated otherwise.
func (s *Server) device(ctx context.Context, authorization string) (*lab.Device, error) {
	scheme, token, _ := strings.Cut(authorization, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		token = ""
	}
	return s.Identity.Authenticate(ctx, strings.TrimSpace(token))
}
