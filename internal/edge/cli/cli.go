// Package cli holds the commands of kenkyo-edge, one file each. It turns flags into calls of package edge, errors into exit codes, and
// what a person at the hospital reads into their language.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"kenkyo/internal/edge"
	"kenkyo/internal/fault"
)

// Exit codes. They are part of the interface: scripts and schedulers act on them.
const (
	exitOK       = 0 // done
	exitFailed   = 1 // something unforeseen, or the disk
	exitUsage    = 2 // wrong flags or arguments, an unreadable image, a bad address
	exitQueued   = 3 // stored safely, not sent yet: the platform cannot be reached
	exitHeld     = 4 // the platform refused something, or a file cannot be read: a person must look
	exitIdentity = 5 // not enrolled, or the code or token is not accepted
	exitBusy     = 6 // another agent uses this data folder
)

// Program is one call of kenkyo-edge.
type Program struct {
	Stdout  io.Writer
	Stderr  io.Writer
	Getenv  func(string) string
	Version string

	data string
	lang string
	json bool
	text texts
}

// Main runs the command named by args and gives the exit code.
func (p *Program) Main(ctx context.Context, args []string) int {
	p.text = textsFor(pickLang("", p.Getenv))
	root := p.root()
	root.SetArgs(args)
	root.SetOut(p.Stdout)
	root.SetErr(p.Stderr)
	return p.exit(root.ExecuteContext(ctx))
}

const rootLong = `kenkyo-edge sends microscope images from this computer to the Kenkyo platform and puts the results into a folder.

It only dials out, over HTTPS. Images are kept in a queue on this computer until the platform has accepted them, without the
metadata (EXIF, GPS, comments) that could name a person. Proxies are taken from HTTPS_PROXY and NO_PROXY.

Exit codes:
  0  done
  1  something unforeseen, or the disk
  2  wrong flags or arguments, an unreadable image, a bad address
  3  stored safely, not sent yet: the platform cannot be reached
  4  the platform refused something, or a file cannot be read: see "kenkyo-edge status"
  5  not enrolled, or the code or token is not accepted
  6  another agent uses this data folder`

func (p *Program) root() *cobra.Command {
	root := &cobra.Command{
		Use: "kenkyo-edge", Short: "The hospital's agent of the Kenkyo platform", Long: rootLong,
		Version: p.Version, SilenceUsage: true, SilenceErrors: true,
		PersistentPreRunE: func(*cobra.Command, []string) error { return p.prepare() },
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage(err) })
	flags := root.PersistentFlags()
	flags.StringVar(&p.data, "data", "", "data folder (default: this user's application data)")
	flags.StringVar(&p.lang, "lang", "", "language of messages: en or ja (default: the system's)")
	flags.BoolVar(&p.json, "json", false, "print JSON for programs")
	root.AddCommand(p.enroll(), p.send(), p.run(), p.status(), p.retry(), p.discard())
	return root
}

func (p *Program) prepare() error {
	switch p.lang {
	case "", "en", "ja":
		p.text = textsFor(pickLang(p.lang, p.Getenv))
	default:
		return usage(errors.New("--lang must be en or ja"))
	}
	if p.data == "" {
		dir, err := edge.DefaultDataDir()
		if err != nil {
			return usage(fmt.Errorf("%w: name a data folder with --data", err))
		}
		p.data = dir
	}
	abs, err := filepath.Abs(p.data)
	if err != nil {
		return usage(err)
	}
	p.data = abs
	return nil
}

// usageError marks a fault of the call itself.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usage(err error) error { return usageError{err} }

// args turns cobra's complaint about arguments into a fault of the call.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, list []string) error {
		if err := check(cmd, list); err != nil {
			return usage(err)
		}
		return nil
	}
}

// coded is an error whose exit code its command has chosen.
type coded struct {
	error
	code int
}

func (e coded) Unwrap() error { return e.error }

// exit prints the error and gives its code.
func (p *Program) exit(err error) int {
	if err == nil {
		return exitOK
	}
	code := codeOf(err)
	if !errors.Is(err, errSaid) {
		say(p.Stderr, "kenkyo-edge: %s\n", p.text.error(err))
	}
	return code
}

// errSaid ends a command whose output has already said what is the matter.
var errSaid = errors.New("already said")

func codeOf(err error) int {
	var c coded
	var u usageError
	switch {
	case errors.As(err, &c):
		return c.code
	case errors.As(err, &u):
		return exitUsage
	case errors.Is(err, edge.ErrHeld):
		return exitHeld
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return exitQueued
	}
	switch fault.KindOf(err) {
	case fault.Invalid, fault.NotFound, fault.TooLarge:
		return exitUsage
	case fault.Unauthenticated, fault.Denied:
		return exitIdentity
	case fault.Conflict:
		return exitBusy
	case fault.Overloaded:
		return exitQueued
	case fault.Internal, fault.Unavailable, fault.Corrupt:
	}
	// A command without a recognisable fault is one cobra could not parse: an unknown command.
	var known *fault.Error
	if !errors.As(err, &known) {
		return exitUsage
	}
	return exitFailed
}

// say writes to a terminal, whose failure nobody could be told of.
func say(w io.Writer, format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) }

func (p *Program) print(v any) error {
	e := json.NewEncoder(p.Stdout)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// log gives the logger of a running agent: on standard error, as text or JSON.
func (p *Program) log(verbose bool) *slog.Logger {
	level := slog.LevelWarn
	if verbose {
		level = slog.LevelInfo
	}
	options := &slog.HandlerOptions{Level: level}
	if p.json {
		return slog.New(slog.NewJSONHandler(p.Stderr, options))
	}
	return slog.New(slog.NewTextHandler(p.Stderr, options))
}

// agent prepares the agent on the data folder.
func (p *Program) agent(c edge.Config) (*edge.Agent, error) {
	c.DataDir, c.Version = p.data, p.Version
	return edge.New(c)
}

func hostName() string {
	name, err := os.Hostname()
	if err != nil {
		return "kenkyo-edge"
	}
	return name
}
