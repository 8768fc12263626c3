package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"kenkyo/internal/app"
	"kenkyo/internal/mlops/registry"
)

// modelInfo is one model version as --json prints it.
type modelInfo struct {
	Name    string   `json:"name"`
	Version string   `json:"version"`
	Digest  string   `json:"digest"`
	Task    string   `json:"task"`
	Input   string   `json:"input"`
	Labels  []string `json:"labels"`
	Licence string   `json:"licence"`
}

func newModelInfo(p *registry.Package) modelInfo {
	return modelInfo{
		Name: p.Name, Version: p.Version, Digest: string(p.Digest), Task: string(p.Task),
		Input: fmt.Sprintf("%dx%d", p.Input.Width, p.Input.Height), Labels: p.LabelNames(), Licence: p.Licence.Weights,
	}
}

func modelCommand(e *env) *cobra.Command {
	var name string
	add := &cobra.Command{
		Use:   "add FILE|DIR…",
		Short: "Add model packages, or ONNX files as exported, after proving that they run",
		Long: "Add model packages (a folder with model.yaml) or bare ONNX files. Of a bare file, task, labels, layout and input size are\n" +
			"read from its metadata and shapes. A running platform takes the new version up within seconds.",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.withInstallation(cmd.Context(), func(in *app.Installation) error {
				var infos []modelInfo
				for _, src := range args {
					p, err := in.AddModel(cmd.Context(), name, src)
					if err != nil {
						return err
					}
					infos = append(infos, newModelInfo(p))
				}
				return e.printModels(infos)
			})
		},
	}
	add.Flags().StringVar(&name, "name", "", "name for a bare ONNX file; default: the file's name")
	list := &cobra.Command{
		Use: "list", Short: "List model versions, newest first within a name", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return e.withInstallation(cmd.Context(), func(in *app.Installation) error {
				packages, err := in.Registry.List()
				if err != nil {
					return err
				}
				infos := make([]modelInfo, len(packages))
				for i, p := range packages {
					infos[i] = newModelInfo(p)
				}
				return e.printModels(infos)
			})
		},
	}
	return group("model", "Add and list model versions", add, list)
}

func (e *env) printModels(infos []modelInfo) error {
	if e.isJSON {
		return e.printJSON(infos)
	}
	return e.table("NAME\tVERSION\tDIGEST\tTASK\tINPUT\tLABELS", func(w io.Writer) {
		for _, m := range infos {
			_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\n", m.Name, m.Version, m.Digest[:12], m.Task, m.Input, len(m.Labels))
		}
	})
}
