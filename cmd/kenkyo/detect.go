package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kenkyo/internal/app"
	"kenkyo/internal/clinic/result"
	"kenkyo/internal/fault"
	"kenkyo/internal/lab"
)

// detected is one image as --json prints it.
type detected struct {
	Image    string        `json:"image"`
	Model    string        `json:"model"`
	Findings []lab.Finding `json:"findings"`
	Lineage  lab.Lineage   `json:"lineage"`
	TookMS   float64       `json:"took_ms"`
}

func detectCommand(e *env) *cobra.Command {
	var model, out string
	var threshold, pixelSize float64
	c := &cobra.Command{
		Use:   "detect --model NAME IMAGE…",
		Short: "Run a model over image files, without a server; nothing is stored",
		Long: "Run a model over image files, without a server. --model is a name in the registry (with @digest for a certain version),\n" +
			"a package folder, or an ONNX file.",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if out != "" && len(args) > 1 && !isFolder(out) {
				return fault.E("detect", fault.Invalid, errors.New("--out must be an existing folder when there are several images"))
			}
			cfg, err := e.config()
			if err != nil {
				return err
			}
			m, err := app.OpenLocal(cmd.Context(), &cfg, model)
			if err != nil {
				return err
			}
			defer func() { _ = m.Close() }()
			var floor func(string) float64
			if threshold >= 0 {
				floor = func(string) float64 { return threshold }
			}
			all, failed := e.detectFiles(cmd, m, args, pixelSize, floor, out)
			if err := e.printDetected(all); err != nil {
				return err
			}
			return errors.Join(failed...)
		},
	}
	c.Flags().StringVar(&model, "model", "", "model name, package folder or ONNX file")
	c.Flags().StringVar(&out, "out", "", "write the annotated picture: a .png file, or a folder")
	c.Flags().Float64Var(&threshold, "threshold", -1, "score below which findings are dropped; default: the model's operating points")
	c.Flags().Float64Var(&pixelSize, "pixel-size-um", 0, "calibration, micrometres a pixel")
	_ = c.MarkFlagRequired("model") // fails only for a flag that does not exist
	return c
}

// detectFiles goes on after an image that fails, so that one bad file does not hide the others.
func (e *env) detectFiles(cmd *cobra.Command, m *app.Local, files []string, pixelSize float64, floor func(string) float64, out string) (all []detected, failed []error) {
	for _, file := range files {
		d, encoded, err := detectFile(cmd, m, file, pixelSize, floor)
		if err == nil && out != "" {
			err = writeAnnotated(cmd, m, out, file, encoded, d.Findings)
		}
		if err != nil {
			failed = append(failed, fault.E("detect", fault.KindOf(err), fmt.Errorf("%s: %s", file, fault.Message(err))))
			continue
		}
		all = append(all, *d)
	}
	return all, failed
}

func detectFile(cmd *cobra.Command, m *app.Local, file string, pixelSize float64, floor func(string) float64) (*detected, []byte, error) {
	encoded, err := os.ReadFile(file) //nolint:gosec // the user names the file
	if err != nil {
		return nil, nil, fault.E("detect", fault.Invalid, err)
	}
	start := time.Now()
	det, err := m.Predict(cmd.Context(), encoded, pixelSize, floor)
	if err != nil {
		return nil, nil, err
	}
	if det.Findings == nil {
		det.Findings = []lab.Finding{}
	}
	return &detected{
		Image: file, Model: det.ClassifiedBy(), Findings: det.Findings, Lineage: det.Lineage,
		TookMS: float64(time.Since(start).Microseconds()) / 1000,
	}, encoded, nil
}

func writeAnnotated(cmd *cobra.Command, m *app.Local, out, file string, encoded []byte, findings []lab.Finding) error {
	png, err := m.Annotate(cmd.Context(), encoded, findings)
	if err != nil {
		return err
	}
	if isFolder(out) {
		base := filepath.Base(file)
		out = filepath.Join(out, strings.TrimSuffix(base, filepath.Ext(base))+".annotated.png")
	}
	return os.WriteFile(out, png, 0o600)
}

func (e *env) printDetected(all []detected) error {
	if e.isJSON {
		if all == nil {
			all = []detected{}
		}
		return e.printJSON(all)
	}
	return e.table("IMAGE\tFINDINGS\tTIME\tMODEL", func(w io.Writer) {
		for _, d := range all {
			_, _ = fmt.Fprintf(w, "%s\t%s\t%.0f ms\t%s\n", filepath.Base(d.Image), summary(result.Classify("", d.Findings)), d.TookMS, d.Model)
		}
	})
}

// summary gives "12 RBC (0.97), 1 WBC (0.99)"; a whole-image class has no count.
func summary(classes []lab.Classification) string {
	if len(classes) == 0 {
		return "nothing found"
	}
	parts := make([]string, len(classes))
	for i, c := range classes {
		parts[i] = fmt.Sprintf("%s (%.2f)", c.Category, c.Confidence)
		if c.Count > 0 {
			parts[i] = fmt.Sprintf("%d %s", c.Count, parts[i])
		}
	}
	return strings.Join(parts, ", ")
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
