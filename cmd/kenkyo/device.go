package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"kenkyo/internal/adapter/store"
	"kenkyo/internal/app"
	"kenkyo/internal/fault"
	"kenkyo/internal/lab"
	"kenkyo/internal/trust/identity"
)

func deviceCommand(e *env) *cobra.Command {
	return group("device", "Enrol, list and revoke hospital agents", enrollCommand(e), deviceListCommand(e), revokeCommand(e))
}

func enrollCommand(e *env) *cobra.Command {
	var facility, name, assay string
	var isDesignated bool
	var lifetime time.Duration
	c := &cobra.Command{
		Use: "enroll", Short: "Print a one-time code by which a hospital agent enrols (kenkyo-edge enroll --code)", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return e.withInstallation(cmd.Context(), func(in *app.Installation) error {
				if assay != "" {
					if _, err := in.Assays.Get(assay); err != nil {
						return err
					}
				}
				fac, err := chooseFacility(cmd.Context(), in, facility)
				if err != nil {
					return err
				}
				code, err := in.Identity.Invite(cmd.Context(), fac, name, assay, isDesignated, lifetime)
				if err != nil {
					return err
				}
				if e.isJSON {
					return e.printJSON(map[string]string{"code": code, "facility_id": string(fac)})
				}
				e.printf("%s\n", code)
				return nil
			})
		},
	}
	c.Flags().StringVar(&facility, "facility", "", "facility, by name or ID; needed when there is more than one")
	c.Flags().StringVar(&name, "name", "hospital agent", "name of the device")
	c.Flags().StringVar(&assay, "assay", "", "assay of submissions that name none")
	c.Flags().BoolVar(&isDesignated, "designated", false, "also receives the results of the facility that no device in use uploaded")
	c.Flags().DurationVar(&lifetime, "lifetime", identity.DefaultCodeLifetime, "how long the code can be used")
	return c
}

// chooseFacility finds a facility by name or ID. Without either it takes the only one, and makes one named "main" when there is
// none yet.
func chooseFacility(ctx context.Context, in *app.Installation, want string) (lab.FacilityID, error) {
	const op = "device enroll"
	all, err := in.Store.Facilities(ctx)
	if err != nil {
		return "", err
	}
	if want == "" {
		switch len(all) {
		case 0:
			return in.CreateFacility(ctx, "main")
		case 1:
			return all[0].ID, nil
		}
		return "", fault.E(op, fault.Invalid, errors.New("there are several facilities; name one with --facility (kenkyo facility list)"))
	}
	for _, f := range all {
		if f.Name == want || string(f.ID) == want {
			return f.ID, nil
		}
	}
	return "", fault.E(op, fault.NotFound, fmt.Errorf("no facility %q; kenkyo facility add makes one", want))
}

func deviceListCommand(e *env) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List devices", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return e.withInstallation(cmd.Context(), func(in *app.Installation) error {
				devices, err := in.Store.Devices(cmd.Context())
				if err != nil {
					return err
				}
				if e.isJSON {
					return e.printJSON(devices)
				}
				return e.table("ID\tNAME\tFACILITY\tASSAY\tENROLLED\tREVOKED", func(w io.Writer) { printDevices(w, devices) })
			})
		},
	}
}

func printDevices(w io.Writer, devices []store.Device) {
	for _, d := range devices {
		revoked := "-"
		if !d.RevokedAt.IsZero() {
			revoked = d.RevokedAt.Format(time.RFC3339)
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", d.ID, d.Name, d.Facility, d.Assay, d.EnrolledAt.Format(time.RFC3339), revoked)
	}
}

func revokeCommand(e *env) *cobra.Command {
	return &cobra.Command{
		Use: "revoke DEVICE", Short: "End a device's access at once", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.withInstallation(cmd.Context(), func(in *app.Installation) error {
				return in.Identity.Revoke(cmd.Context(), lab.DeviceID(args[0]))
			})
		},
	}
}

func facilityCommand(e *env) *cobra.Command {
	add := &cobra.Command{
		Use: "add NAME", Short: "Add a facility with keys of its own; prints its ID", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.withInstallation(cmd.Context(), func(in *app.Installation) error {
				id, err := in.CreateFacility(cmd.Context(), args[0])
				if fault.Is(err, fault.Conflict) {
					return fault.E("facility add", fault.Conflict, fmt.Errorf("there is a facility named %q already", args[0]))
				}
				if err != nil {
					return err
				}
				if e.isJSON {
					return e.printJSON(map[string]string{"facility_id": string(id)})
				}
				e.printf("%s\n", id)
				return nil
			})
		},
	}
	list := &cobra.Command{
		Use: "list", Short: "List facilities", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return e.withInstallation(cmd.Context(), func(in *app.Installation) error {
				all, err := in.Store.Facilities(cmd.Context())
				if err != nil {
					return err
				}
				if e.isJSON {
					return e.printJSON(all)
				}
				return e.table("ID\tNAME", func(w io.Writer) {
					for _, f := range all {
						_, _ = fmt.Fprintf(w, "%s\t%s\n", f.ID, f.Name)
					}
				})
			})
		},
	}
	return group("facility", "Add and list facilities", add, list)
}
