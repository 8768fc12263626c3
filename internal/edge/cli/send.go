package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"kenkyo/internal/edge"
	"kenkyo/internal/edge/spool"
	"kenkyo/internal/fault"
	"kenkyo/internal/lab"
)

const sendLong = `Stores the images as one request in the queue on this computer, then sends what the queue holds. When the platform cannot be
reached the request stays in the queue, and the next send or a running agent sends it (exit code 3).

The images are copied without metadata; the files themselves are left as they are.`

type sendFlags struct {
	specimen, assay, condition, priority string
	capturedAt, classification           string
	pixelSize                            float64
	wait                                 bool
	timeout                              time.Duration
}

func (p *Program) send() *cobra.Command {
	var f sendFlags
	cmd := &cobra.Command{
		Use: "send FILE… --specimen ID", Short: "Send images of one specimen", Long: sendLong,
		Example: "  kenkyo-edge send field1.jpg field2.jpg --specimen SP-20250115-001 --priority stat --wait",
		Args:    args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, files []string) error {
			sub, sources, err := f.submission(files)
			if err != nil {
				return usage(err)
			}
			ctx := cmd.Context()
			if f.timeout > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, f.timeout)
				defer cancel()
			}
			return p.sendNow(ctx, sub, sources, f.wait)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.specimen, "specimen", "", "specimen ID (needed)")
	flags.StringVar(&f.assay, "assay", "", "assay code (default: the device's)")
	flags.StringVar(&f.condition, "condition", "", "condition of the specimen, e.g. aerobic or anaerobic")
	flags.StringVar(&f.priority, "priority", "", "routine or stat")
	flags.StringVar(&f.capturedAt, "captured-at", "", "time of the photograph, RFC 3339 (default: the first file's time)")
	flags.Float64Var(&f.pixelSize, "pixel-size-um", 0, "micrometres a pixel, when known")
	flags.StringVar(&f.classification, "classification", "", "JSON file with the analyser's own classification")
	flags.BoolVar(&f.wait, "wait", false, "wait for the result and print it")
	flags.DurationVar(&f.timeout, "timeout", 0, "give up waiting after this time; the request stays in the queue (default: never)")
	return cmd
}

const maxClassification = 1 << 20

func (f sendFlags) submission(files []string) (spool.Submission, []spool.Source, error) {
	sub := spool.Submission{
		SpecimenID: lab.SpecimenID(f.specimen), Assay: f.assay, Condition: f.condition, Priority: lab.Priority(f.priority),
		PixelSizeUM: f.pixelSize,
	}
	switch sub.Priority {
	case "", lab.PriorityRoutine, lab.PrioritySTAT:
	default:
		return sub, nil, errors.New("--priority must be routine or stat")
	}
	if f.specimen == "" {
		return sub, nil, errors.New("--specimen is needed")
	}
	if f.pixelSize < 0 {
		return sub, nil, errors.New("--pixel-size-um must be above 0")
	}
	var sources []spool.Source
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			return sub, nil, err
		}
		if !info.Mode().IsRegular() {
			return sub, nil, fmt.Errorf("%s is not a file", file)
		}
		if sub.CapturedAt.IsZero() {
			sub.CapturedAt = info.ModTime().UTC().Truncate(time.Second)
		}
		sources = append(sources, spool.Source{Name: filepath.Base(file), Path: file})
	}
	if f.capturedAt != "" {
		at, err := time.Parse(time.RFC3339, f.capturedAt)
		if err != nil {
			return sub, nil, errors.New("--captured-at must look like 2025-01-15T10:00:00+09:00")
		}
		sub.CapturedAt = at
	}
	if f.classification == "" {
		return sub, sources, nil
	}
	text, err := readJSONFile(f.classification)
	sub.Classification = text
	return sub, sources, err
}

func readJSONFile(path string) (json.RawMessage, error) {
	in, err := os.Open(path) //nolint:gosec // the person who runs the command names the file
	if err != nil {
		return nil, err
	}
	defer in.Close() //nolint:errcheck // it is only read
	b, err := io.ReadAll(io.LimitReader(in, maxClassification+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxClassification || !json.Valid(b) {
		return nil, fmt.Errorf("%s is not JSON of at most 1 MiB", path)
	}
	return b, nil
}

// outcome is what send prints with --json.
type outcome struct {
	Item      spool.ItemID    `json:"item"`
	State     spool.State     `json:"state"`
	RequestID lab.RequestID   `json:"request_id,omitempty"`
	Reason    *spool.Reason   `json:"reason,omitempty"`
	LastError string          `json:"last_error,omitempty"`
	Result    json.RawMessage `json:"result,omitempty"`
}

// sendNow stores, drains, and reports. Once the item is stored no error loses it, so the code says where it stands.
func (p *Program) sendNow(ctx context.Context, sub spool.Submission, sources []spool.Source, wait bool) error {
	agent, err := p.agent(edge.Config{Log: p.log(false), Interval: 500 * time.Millisecond})
	if err != nil {
		return err
	}
	defer agent.Close()
	it, err := agent.Submit(sub, sources)
	if err != nil {
		return err
	}
	drainErr := agent.Drain(ctx, it.ID, wait)
	if fault.Is(drainErr, fault.Conflict) {
		drainErr = nil // a running agent sends it
	}
	if it, err = agent.Item(it.ID); err != nil {
		return err
	}
	var result json.RawMessage
	if wait && drainErr == nil && it.State != spool.Held {
		result, drainErr = agent.Await(ctx, it.ID)
		if drainErr == nil {
			drainErr = agent.Answered(it.ID)
		}
		if it, err = agent.Item(it.ID); err != nil {
			return err
		}
	}
	return p.reportSend(it, result, wait, drainErr)
}

func (p *Program) reportSend(it *spool.Item, result json.RawMessage, wait bool, err error) error {
	out := outcome{it.ID, it.State, it.Status.RequestID, it.Status.Reason, it.Status.LastError, result}
	switch {
	case p.json:
		if err := p.print(out); err != nil {
			return err
		}
	case result != nil:
		say(p.Stdout, "%s\n", result)
	case it.State == spool.Sent || it.State == spool.Answered:
		say(p.Stdout, "%s\n", it.Status.RequestID)
	}
	switch {
	case err != nil && fault.Is(err, fault.Unauthenticated):
		return err
	case it.State == spool.Held:
		say(p.Stderr, p.text.held+"\n", it.ID, it.Status.Reason)
		return coded{errSaid, exitHeld}
	case it.State == spool.Waiting:
		say(p.Stderr, p.text.queued+"\n", it.ID, it.Status.LastError)
		return coded{errSaid, exitQueued}
	case wait && result == nil && err != nil:
		say(p.Stderr, p.text.unanswered+"\n", it.Status.RequestID, p.text.error(err))
		return coded{errSaid, exitQueued}
	}
	return nil
}
