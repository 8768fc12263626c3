package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"kenkyo/internal/app"
	"kenkyo/internal/fault"
)

// Exit statuses.
const (
	exitOK       = 0
	exitFailed   = 1
	exitUsage    = 2
	exitFindings = 3 // doctor found violations
)

// env is what a command may touch.
type env struct {
	stdout, stderr io.Writer
	getenv         func(string) string
	configPath     string
	data           string
	isJSON         bool
}

// errFindings ends doctor with its own status.
var errFindings = errors.New("violations found")

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, getenv func(string) string) int {
	e := &env{stdout: stdout, stderr: stderr, getenv: getenv}
	root := &cobra.Command{
		Use:           "kenkyo",
		Short:         "Microscope images in, signed results out",
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       app.Version,
	}
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.CompletionOptions.DisableDefaultCmd = true
	flags := root.PersistentFlags()
	flags.StringVar(&e.configPath, "config", "", "configuration file (kenkyo config print writes one)")
	flags.StringVar(&e.data, "data", "", "data folder; wins over the configuration")
	flags.BoolVar(&e.isJSON, "json", false, "print JSON for machines")
	root.AddCommand(serveCommand(e), detectCommand(e), modelCommand(e), deviceCommand(e), facilityCommand(e),
		assayCommand(e), doctorCommand(e), configCommand(e), demoCommand(e))
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errFindings):
		return exitFindings
	case fault.KindOf(err) == fault.Internal && isUsage(err):
		_, _ = fmt.Fprintf(stderr, "kenkyo: %v\nTry: kenkyo --help\n", err)
		return exitUsage
	}
	_, _ = fmt.Fprintf(stderr, "kenkyo: %s\n", fault.Message(err))
	return exitFailed
}

// isUsage tells errors of the command line, which cobra gives without a type, from ours, which have one.
func isUsage(err error) bool {
	var typed *fault.Error
	return !errors.As(err, &typed)
}

// config reads the configuration with the command line's data folder on top.
func (e *env) config() (app.Config, error) {
	c, err := app.LoadConfig(e.configPath, e.getenv)
	if e.data != "" {
		c.Data = e.data
	}
	return c, err
}

// open opens the installation for a command that does not serve: its log goes to stderr, warnings only.
func (e *env) open(ctx context.Context) (*app.Installation, error) {
	c, err := e.config()
	if err != nil {
		return nil, err
	}
	log := slog.New(slog.NewTextHandler(e.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	return app.Open(ctx, c, log)
}

// withInstallation opens the installation around fn.
func (e *env) withInstallation(ctx context.Context, fn func(*app.Installation) error) error {
	in, err := e.open(ctx)
	if err != nil {
		return err
	}
	return errors.Join(fn(in), in.Close())
}

func (e *env) printf(format string, args ...any) { _, _ = fmt.Fprintf(e.stdout, format, args...) }

func (e *env) printJSON(v any) error {
	enc := json.NewEncoder(e.stdout)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// table prints rows in columns.
func (e *env) table(header string, rows func(w io.Writer)) error {
	tw := tabwriter.NewWriter(e.stdout, 0, 4, 2, ' ', 0)
	_, _ = fmt.Fprintln(tw, header)
	rows(tw)
	return tw.Flush()
}

func group(use, short string, children ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	c.AddCommand(children...)
	return c
}
