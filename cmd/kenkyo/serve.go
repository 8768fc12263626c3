package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"github.com/spf13/cobra"

	"kenkyo/internal/app"
	"kenkyo/internal/fault"
)

func serveCommand(e *env) *cobra.Command {
	var listen, roles string
	c := &cobra.Command{
		Use:   "serve",
		Short: "Serve the API, run inference, or both",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := e.config()
			if err != nil {
				return err
			}
			if listen != "" {
				cfg.Listen = listen
			}
			if roles != "" {
				cfg.Roles = app.SplitRoles(roles)
			}
			return e.serve(cmd.Context(), cfg)
		},
	}
	c.Flags().StringVar(&listen, "listen", "", "address to listen on; wins over the configuration")
	c.Flags().StringVar(&roles, "roles", "", "comma-separated: api, inference; wins over the configuration")
	return c
}

func (e *env) serve(ctx context.Context, cfg app.Config) error {
	const op = "serve"
	var handler slog.Handler = slog.NewJSONHandler(e.stderr, nil)
	if cfg.LogFormat == "text" {
		handler = slog.NewTextHandler(e.stderr, nil)
	}
	log := slog.New(handler)
	in, err := app.Open(ctx, cfg, log)
	if err != nil {
		return err
	}
	p, err := app.NewPlatform(ctx, in)
	if err != nil {
		return errors.Join(err, in.Close())
	}
	var ln net.Listener
	if cfg.Has(app.RoleAPI) {
		var lc net.ListenConfig
		if ln, err = lc.Listen(ctx, "tcp", cfg.Listen); err != nil {
			return errors.Join(fault.E(op, fault.Unavailable, fmt.Errorf("cannot listen on %s: %w", cfg.Listen, err)), in.Close())
		}
	}
	err = p.Run(ctx, ln, func() {
		attrs := []slog.Attr{slog.Any("roles", cfg.Roles)}
		if ln != nil {
			attrs = append(attrs, slog.String("listen", ln.Addr().String()))
		}
		log.LogAttrs(ctx, slog.LevelInfo, "ready", attrs...)
	})
	return errors.Join(err, in.Close())
}
