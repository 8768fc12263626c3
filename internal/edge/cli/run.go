package cli

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"kenkyo/internal/edge"
)

const runLong = `Watches a folder, sends what appears in it, and puts each result into another folder, until it is stopped.

  DIR/<specimen ID>/<images>      one request, once nothing has changed for the settle time
  DIR/<specimen ID>/.ready        an empty file: complete now
  DIR/<specimen ID>/ready.json    complete now, with any of assay, condition, priority, captured_at, pixel_size_um, classification
  DIR/<image>                     one request; the specimen ID is the file's name without its extension

Files that are safely in the queue are moved to DIR/.sent. Files added later to the same folder are a new request.
Results are written as <request ID>.v<version>.json, whole or not at all; "img-001" is the first file by name.
Messages on standard error name items and requests, never specimens or files; "kenkyo-edge status" shows those.`

func (p *Program) run() *cobra.Command {
	var c edge.Config
	cmd := &cobra.Command{
		Use: "run --watch DIR --out DIR", Short: "Watch a folder and deliver results", Long: runLong,
		Example: `  kenkyo-edge run --watch D:\Microscope\Export --out D:\LIS\Import`,
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkFolders(&c); err != nil {
				return usage(err)
			}
			c.Log = p.log(true)
			agent, err := p.agent(c)
			if err != nil {
				return err
			}
			defer agent.Close()
			return agent.Run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&c.Watch, "watch", "", "folder to take images from (needed)")
	flags.StringVar(&c.Out, "out", "", "folder for results (needed)")
	flags.BoolVar(&c.Once, "once", false, "end when everything has its final result or is held")
	flags.DurationVar(&c.Interval, "interval", 0, "time between looks at the folder")
	flags.Lookup("interval").DefValue = "2s"
	flags.DurationVar(&c.Settle, "settle", 0, "how long nothing must change before a folder is complete")
	flags.Lookup("settle").DefValue = "1s"
	return cmd
}

// checkFolders makes the folders absolute and keeps results from being taken for new files.
func checkFolders(c *edge.Config) error {
	if c.Watch == "" || c.Out == "" {
		return errors.New("--watch and --out are needed")
	}
	for _, dir := range []*string{&c.Watch, &c.Out} {
		abs, err := filepath.Abs(*dir)
		if err != nil {
			return err
		}
		*dir = abs
	}
	info, err := os.Stat(c.Watch)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return errors.New("--watch must be a folder")
	}
	rel, err := filepath.Rel(c.Watch, c.Out)
	if err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return errors.New("--out must not lie inside --watch")
	}
	return nil
}
