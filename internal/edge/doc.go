// Package edge is the hospital's agent: it takes images from a folder or a command, keeps them in a durable queue until the platform
// has accepted them, and delivers the results into a folder. It dials out and opens no listening socket.
//
// Data path: watch.Look finds a complete submission → spool.Add strips metadata and stores it → the files move to .sent →
// uplink.Send uploads it → spool.Accepted; deliver.Poll writes each result → spool.Answer. Agent joins these packages; none of them
// imports another but durable. Commands are in edge/cli.
//
// Log records at level info and above name item and request identifiers only. Specimen numbers and file names are patient data: they
// are shown to the person at the computer by the status command, and never logged.
package edge

import (
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"kenkyo/internal/edge/durable"
	"kenkyo/internal/fault"
)

// Config is what the agent is told. DataDir is required; every other field has a default.
type Config struct {
	DataDir string       // device.json, queue, cursor, status; default DefaultDataDir
	Watch   string       // folder to take images from; empty takes none
	Out     string       // folder for results; empty fetches none
	Once    bool         // end when everything taken has its final answer or is held
	Version string       // of this program, for User-Agent
	Log     *slog.Logger // default discards
	FS      durable.FS   // default the real one

	Interval time.Duration // between looks at Watch and at the queue; default 2 s
	Settle   time.Duration // how long a submission must not change to be complete; default 1 s
	LongPoll time.Duration // how long the platform may hold a request for results open; default 25 s

	BackoffBase time.Duration // bound of the first wait after a failure; doubles; default 1 s
	BackoffCap  time.Duration // bound of every wait; default 5 min
	TokenPause  time.Duration // between attempts while the device's token is refused; default 1 min
	Stall       time.Duration // an upload that moves no byte for so long is given up; default 1 min
}

func (c Config) withDefaults() Config {
	set := func(d *time.Duration, value time.Duration) {
		if *d <= 0 {
			*d = value
		}
	}
	set(&c.Interval, 2*time.Second)
	set(&c.Settle, time.Second)
	set(&c.LongPoll, 25*time.Second)
	set(&c.BackoffBase, time.Second)
	set(&c.BackoffCap, 5*time.Minute)
	set(&c.TokenPause, time.Minute)
	set(&c.Stall, time.Minute)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.FS == nil {
		c.FS = durable.OS{}
	}
	if c.Version == "" {
		c.Version = "dev"
	}
	return c
}

// DefaultDataDir gives the folder the operating system keeps for a program's data of this user.
func DefaultDataDir() (string, error) {
	if runtime.GOOS == "linux" {
		if state := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(state) {
			return filepath.Join(state, "kenkyo-edge"), nil
		}
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fault.E("edge.DefaultDataDir", fault.Invalid, err)
		}
		return filepath.Join(home, ".local", "state", "kenkyo-edge"), nil
	}
	base, err := os.UserConfigDir()
	if runtime.GOOS == "windows" {
		base, err = os.UserCacheDir() // %LocalAppData%: %AppData% may be copied to a server at sign-off
	}
	if err != nil {
		return "", fault.E("edge.DefaultDataDir", fault.Invalid, err)
	}
	return filepath.Join(base, "kenkyo-edge"), nil
}

func spoolDir(data string) string   { return filepath.Join(data, "spool") }
func cursorFile(data string) string { return filepath.Join(data, "cursor") }
func deviceFile(data string) string { return filepath.Join(data, "device.json") }
func statusFile(data string) string { return filepath.Join(data, "status.json") }
