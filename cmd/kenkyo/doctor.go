package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"kenkyo/internal/app"
	"kenkyo/internal/clinic/assay"
	"kenkyo/internal/lab"
)

func doctorCommand(e *env) *cobra.Command {
	var isQuick bool
	c := &cobra.Command{
		Use: "doctor", Short: "Hold the stored data against the invariants; exit status 3 when one is broken", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return e.withInstallation(cmd.Context(), func(in *app.Installation) error {
				d, err := in.Doctor(cmd.Context(), isQuick)
				if err != nil {
					return err
				}
				if e.isJSON {
					if err := e.printJSON(d); err != nil {
						return err
					}
				} else {
					for _, line := range d.Lines() {
						e.printf("%s\n", line)
					}
					e.printf("%d images, %d violations\n", d.Images, len(d.Violations))
				}
				if len(d.Violations) > 0 {
					return errFindings
				}
				return nil
			})
		},
	}
	c.Flags().BoolVar(&isQuick, "quick", false, "do not open every image's seal")
	return c
}

func configCommand(e *env) *cobra.Command {
	return group("config", "Show the configuration", &cobra.Command{
		Use: "print", Short: "Print the configuration in force as an annotated file", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			c, err := e.config()
			if err != nil {
				return err
			}
			e.printf("%s", c.Annotated())
			return nil
		},
	})
}

func assayCommand(e *env) *cobra.Command {
	return group("assay", "Show the assays in force", &cobra.Command{
		Use: "list", Short: "List assays with their conditions, models and labels", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			c, err := e.config()
			if err != nil {
				return err
			}
			catalogue, err := app.LoadAssays(&c)
			if err != nil {
				return err
			}
			return e.printAssays(catalogue)
		},
	})
}

func (e *env) printAssays(catalogue *assay.Catalogue) error {
	var all []*lab.Assay
	for _, n := range catalogue.Names() {
		a, err := catalogue.Get(n)
		if err != nil {
			return err
		}
		all = append(all, a)
	}
	if e.isJSON {
		return e.printJSON(all)
	}
	return e.table("NAME\tCONDITIONS\tREVIEW\tLABELS\tTITLE", func(w io.Writer) {
		for _, a := range all {
			var labels []string
			for _, l := range catalogue.Vocabulary(a.Vocabulary).Labels {
				labels = append(labels, l.Name)
			}
			_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s / %s\n", a.Name, strings.Join(a.Conditions(), ", "), a.Review.Mode,
				strings.Join(labels, ", "), a.Title.EN, a.Title.JA)
		}
	})
}
