package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kenkyo/internal/app"
	"kenkyo/internal/fault"
	"kenkyo/internal/lab"
)

// demo runs both programs as their users would: a platform and a hospital agent, as processes of their own, over sample images.
type demo struct {
	env     *env
	folder  string // everything the demo makes
	images  string // <images>/<assay>/*.jpg
	models  string // model packages
	self    string // this program
	edge    string // the hospital agent
	listen  string
	timeout time.Duration
	isOnce  bool
}

func demoCommand(e *env) *cobra.Command {
	d := &demo{env: e}
	c := &cobra.Command{
		Use: "demo", Short: "Run platform and hospital agent over sample images and show the results", Args: cobra.NoArgs,
		Long: "Run a platform and a hospital agent, each as its own process, over sample images; show the results. Everything is made fresh\n" +
			"in the folder given by --folder. Stays up until Ctrl-C, unless --exit is given.",
		RunE: func(cmd *cobra.Command, _ []string) error { return d.run(cmd.Context()) },
	}
	c.Flags().StringVar(&d.folder, "folder", ".demo", "folder of the demo; an earlier demo in it is removed")
	c.Flags().StringVar(&d.images, "images", "examples/images", "sample images, one folder an assay")
	c.Flags().StringVar(&d.models, "models", "models", "model packages to add")
	c.Flags().StringVar(&d.edge, "edge", "", "the kenkyo-edge program; default: beside this one")
	c.Flags().StringVar(&d.listen, "listen", "127.0.0.1:8080", "address of the platform; a free port when it is taken")
	c.Flags().DurationVar(&d.timeout, "timeout", 3*time.Minute, "give up when not every image has an answer by then")
	c.Flags().BoolVar(&d.isOnce, "exit", false, "end when every image has an answer; exit status 0 only then")
	return c
}

func (d *demo) run(ctx context.Context) error {
	if err := d.prepare(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	specimens, total, err := d.fillInbox()
	if err != nil {
		return err
	}
	d.step("platform: adding the shipped models to %s", d.path("platform"))
	if err := d.addModels(ctx); err != nil {
		return err
	}
	server, err := d.start(ctx, "platform", d.self, "serve", "--data", d.path("platform"), "--listen", d.listen)
	if err != nil {
		return err
	}
	defer server.stop()
	url := "http://" + d.listen
	if err := waitReady(ctx, url, server); err != nil {
		return err
	}
	d.step("platform: serving on %s (log %s)", url, server.log)
	agent, err := d.startAgent(ctx, url)
	if err != nil {
		return err
	}
	defer agent.stop()
	d.step("hospital agent: watching %s, %d specimens, %d images", d.path("inbox"), specimens, total)
	answered, err := d.follow(ctx, total, []*process{server, agent})
	if err != nil {
		return err
	}
	if err := d.report(ctx, url); err != nil {
		return err
	}
	d.farewell(url)
	if answered < total {
		return fault.E("demo", fault.Unavailable, fmt.Errorf("%d of %d images have an answer", answered, total))
	}
	if !d.isOnce {
		<-ctx.Done()
	}
	return nil
}

// prepare checks what is needed and clears the folder of an earlier demo.
func (d *demo) prepare() error {
	const op = "demo"
	var err error
	if d.self, err = os.Executable(); err != nil {
		return fault.E(op, fault.Unavailable, err)
	}
	if d.edge == "" {
		d.edge = filepath.Join(filepath.Dir(d.self), "kenkyo-edge")
	}
	for _, need := range []string{d.edge, d.images, d.models} {
		if _, err := os.Stat(need); err != nil {
			return fault.E(op, fault.Invalid, fmt.Errorf("%s is missing; run make demo in the repository", need))
		}
	}
	marker := d.path(".kenkyo-demo")
	if entries, err := os.ReadDir(d.folder); err == nil && len(entries) > 0 {
		if _, err := os.Stat(marker); err != nil {
			return fault.E(op, fault.Invalid, fmt.Errorf("%s holds something else than a demo; choose another --folder", d.folder))
		}
	}
	if err := os.RemoveAll(d.folder); err != nil {
		return fault.E(op, fault.Unavailable, err)
	}
	for _, dir := range []string{"inbox", "results"} {
		if err := os.MkdirAll(d.path(dir), 0o700); err != nil {
			return fault.E(op, fault.Unavailable, err)
		}
	}
	if d.listen, err = freeAddress(d.listen); err != nil {
		return fault.E(op, fault.Unavailable, err)
	}
	return os.WriteFile(marker, nil, 0o600)
}

func (d *demo) path(parts ...string) string {
	return filepath.Join(append([]string{d.folder}, parts...)...)
}

func (d *demo) step(format string, args ...any) {
	d.env.printf("• "+format+"\n", args...)
}

// addModels adds every package of the models folder.
func (d *demo) addModels(ctx context.Context) error {
	manifests, err := filepath.Glob(filepath.Join(d.models, "*", "model.yaml"))
	if err != nil || len(manifests) == 0 {
		return fault.E("demo", fault.Invalid, errors.Join(fmt.Errorf("no model package in %s", d.models), err))
	}
	args := []string{"model", "add", "--data", d.path("platform")}
	for _, m := range manifests {
		args = append(args, filepath.Dir(m))
	}
	return d.call(ctx, io.Discard, d.self, args...)
}

// startAgent enrols the hospital agent as an operator would, and starts it.
func (d *demo) startAgent(ctx context.Context, url string) (*process, error) {
	var code strings.Builder
	err := d.call(ctx, &code, d.self, "device", "enroll", "--data", d.path("platform"), "--name", "demo hospital PC", "--assay", "blood-smear")
	if err != nil {
		return nil, err
	}
	err = d.call(ctx, io.Discard, d.edge, "enroll", "--server", url, "--code", strings.TrimSpace(code.String()), "--data", d.path("agent"))
	if err != nil {
		return nil, err
	}
	return d.start(ctx, "agent", d.edge, "run", "--data", d.path("agent"), "--watch", d.path("inbox"), "--out", d.path("results"))
}

// call runs a command to its end.
func (d *demo) call(ctx context.Context, stdout io.Writer, name string, args ...string) error {
	var stderr strings.Builder
	cmd := exec.CommandContext(ctx, name, args...) //nolint:gosec // our own two programs
	cmd.Stdout, cmd.Stderr = stdout, &stderr
	if err := cmd.Run(); err != nil {
		return fault.E("demo", fault.Unavailable, fmt.Errorf("%s %s: %w: %s", filepath.Base(name), args[0], err, strings.TrimSpace(stderr.String())))
	}
	return nil
}

// fillInbox lays the sample images out as a hospital PC would find them: one folder a specimen.
func (d *demo) fillInbox() (specimens, images int, err error) {
	const perSpecimen = 3
	files, err := filepath.Glob(filepath.Join(d.images, "*", "*"))
	if err != nil {
		return 0, 0, fault.E("demo", fault.Internal, err)
	}
	byAssay := make(map[string][]string)
	for _, f := range files {
		switch strings.ToLower(filepath.Ext(f)) {
		case ".jpg", ".jpeg", ".png":
			assay := filepath.Base(filepath.Dir(f))
			byAssay[assay] = append(byAssay[assay], f)
		}
	}
	for assay, files := range byAssay {
		for i := 0; i < len(files); i += perSpecimen {
			specimens++
			name := fmt.Sprintf("DEMO-%s-%02d", strings.ToUpper(assay), i/perSpecimen+1)
			group := files[i:min(i+perSpecimen, len(files))]
			if err := d.layOut(name, assay, group); err != nil {
				return 0, 0, fault.E("demo", fault.Unavailable, err)
			}
			images += len(group)
		}
	}
	if images == 0 {
		return 0, 0, fault.E("demo", fault.Invalid, fmt.Errorf("no sample images in %s", d.images))
	}
	return specimens, images, nil
}

// layOut makes a specimen's folder under another name and moves it into place, so that the agent never sees half of it.
func (d *demo) layOut(name, assay string, files []string) error {
	stage := d.path("staging", name)
	if err := os.MkdirAll(stage, 0o700); err != nil {
		return err
	}
	for _, f := range files {
		b, err := os.ReadFile(f) //nolint:gosec // a sample image
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(stage, filepath.Base(f)), b, 0o600); err != nil { //nolint:gosec // into the demo's own folder
			return err
		}
	}
	ready := fmt.Sprintf(`{"assay":%q,"captured_at":%q}`, assay, time.Now().UTC().Format(time.RFC3339))
	if err := os.WriteFile(filepath.Join(stage, "ready.json"), []byte(ready), 0o600); err != nil {
		return err
	}
	return os.Rename(stage, d.path("inbox", name))
}

// freeAddress gives the address, or one with a free port when somebody listens there.
func freeAddress(want string) (string, error) {
	ln, err := net.Listen("tcp", want) //nolint:noctx // closed at once
	if err != nil {
		host, _, e := net.SplitHostPort(want)
		if e != nil {
			return "", e
		}
		if ln, err = net.Listen("tcp", net.JoinHostPort(host, "0")); err != nil { //nolint:noctx // closed at once
			return "", err
		}
	}
	addr := ln.Addr().String()
	return addr, ln.Close()
}

// follow shows a progress bar until every image is answered: released, rejected, or waiting for a technician.
func (d *demo) follow(ctx context.Context, total int, processes []*process) (answered int, err error) {
	in, err := (&env{stdout: d.env.stdout, stderr: d.env.stderr, getenv: d.env.getenv, data: d.path("platform")}).open(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(d.timeout)
	bar := newProgressBar(d.env.stdout, total)
	for {
		p, err := in.Store.Progress(ctx)
		if err != nil {
			return answered, err
		}
		answered = p[lab.StateReleased] + p[lab.StateRejected] + p[lab.StateInReview] + p[lab.StateDecided]
		bar.show(answered, p)
		if answered >= total && d.areDelivered(ctx, in) {
			bar.end()
			return answered, nil
		}
		select {
		case <-ctx.Done():
			bar.end()
			return answered, fault.E("demo", fault.Unavailable, errors.New("interrupted"))
		case <-deadline:
			bar.end()
			return answered, nil
		case <-tick.C:
		}
		for _, p := range processes {
			if err := p.died(); err != nil {
				bar.end()
				return answered, err
			}
		}
	}
}

// areDelivered reports whether the agent has written every released report to the results folder.
func (d *demo) areDelivered(ctx context.Context, in *app.Installation) bool {
	heads, err := in.Store.Heads(ctx)
	if err != nil {
		return false
	}
	files, err := filepath.Glob(d.path("results", "*.json"))
	if err != nil {
		return false
	}
	var released int64
	for _, n := range heads {
		released += n
	}
	return int64(len(files)) >= released
}
