package cli

import (
	"errors"
	"path/filepath"

	"github.com/spf13/cobra"

	"kenkyo/internal/edge"
	"kenkyo/internal/fault"
)

const enrollLong = `Exchanges an enrolment code, which the platform's administrator issues and which works once, for this computer's identity.
The identity is stored in the data folder, readable by the current user only.

The server must be an https:// address; http:// is allowed to this very computer.`

func (p *Program) enroll() *cobra.Command {
	e := edge.Enrollment{Version: p.Version}
	cmd := &cobra.Command{
		Use: "enroll --server URL --code CODE", Short: "Give this computer its identity", Long: enrollLong,
		Example: "  kenkyo-edge enroll --server https://kenkyo.example.jp --code 4F7K-9QXD-2M",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if e.Server == "" || e.Code == "" {
				return usage(errors.New("--server and --code are needed"))
			}
			e.DataDir = p.data
			if e.CAFile != "" {
				abs, err := filepath.Abs(e.CAFile)
				if err != nil {
					return usage(err)
				}
				e.CAFile = abs
			}
			d, err := edge.Enroll(cmd.Context(), e)
			if fault.Is(err, fault.Conflict) && !errors.Is(err, edge.ErrRunning) {
				return usage(err)
			}
			if err != nil {
				return err
			}
			if p.json {
				return p.print(map[string]any{"device_id": d.DeviceID, "facility_id": d.FacilityID, "assay": d.Assay, "data": p.data})
			}
			say(p.Stdout, p.text.enrolled+"\n", d.DeviceID, d.FacilityID, p.data)
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&e.Server, "server", "", "address of the platform, https://…")
	flags.StringVar(&e.Code, "code", "", "enrolment code")
	flags.StringVar(&e.Name, "name", hostName(), "name of this device in the platform's lists")
	flags.Lookup("name").DefValue = "host name"
	flags.StringVar(&e.CAFile, "ca-file", "", "PEM file with further trusted authorities, for a proxy that inspects TLS")
	flags.BoolVar(&e.InsecureHTTP, "insecure-http", false, "allow http:// to another computer: images travel unprotected; for trials only")
	flags.BoolVar(&e.Replace, "replace", false, "give up the identity this data folder has")
	return cmd
}
