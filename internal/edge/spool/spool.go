package spool

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"kenkyo/internal/edge/durable"
	"kenkyo/internal/fault"
	"kenkyo/internal/lab"
)

const (
	itemFile  = "item.json"
	stateFile = "state.json"
	movedFile = "moved" // exists once the files named by Origin are moved away
	tempDir   = "tmp"
	earlyDir  = "early" // answers that came before the item they answer was known to be accepted
)

// keepAnswered is how long an answered item is listed; longer would keep specimen numbers for no purpose.
const keepAnswered = 7 * 24 * time.Hour

// Spool is the queue of one agent. Its methods are safe for concurrent use.
type Spool struct {
	dir  string
	fs   durable.FS
	now  func() time.Time
	lock *os.File // nil when this process only adds and reads

	mu      sync.Mutex
	sent    map[lab.RequestID]string // folder names of sent items; only the owner keeps it
	unmoved map[ItemID]Origin        // items whose origin files are still to be moved; only the owner keeps it
	pruned  time.Time                // when answered items were last pruned
}

// Attach gives a spool for adding items, listing them, and a person's retry and discard, beside the agent that owns it.
// It makes the folders when they are absent.
func Attach(dir string, fsys durable.FS) (*Spool, error) {
	s := &Spool{dir: dir, fs: fsys, now: time.Now, sent: map[lab.RequestID]string{}, unmoved: map[ItemID]Origin{}}
	for _, sub := range append([]string{tempDir, earlyDir}, names(states)...) {
		if err := fsys.Mkdir(filepath.Join(dir, sub)); err != nil {
			return nil, fault.E("spool.Attach", fault.Unavailable, err)
		}
	}
	for _, parent := range []string{dir, filepath.Dir(dir)} {
		if err := fsys.SyncDir(parent); err != nil {
			return nil, fault.E("spool.Attach", fault.Unavailable, err)
		}
	}
	return s, nil
}

// Open attaches to the spool as its owner, completes what a crash cut short, and removes rubbish. Release it with Close.
// Errors: fault.Conflict when another agent owns it; fault.Unavailable when the folder cannot be used.
func Open(dir string, fsys durable.FS) (*Spool, error) {
	s, err := Attach(dir, fsys)
	if err != nil {
		return nil, err
	}
	s.lock, err = takeLock(filepath.Join(dir, "lock"))
	if errors.Is(err, durable.ErrLocked) {
		return nil, fault.E("spool.Open", fault.Conflict, errors.New("another agent is using this data folder"))
	}
	if err != nil {
		return nil, fault.E("spool.Open", fault.Unavailable, err)
	}
	if err := s.recover(); err != nil {
		return nil, errors.Join(fault.E("spool.Open", fault.Unavailable, err), s.lock.Close())
	}
	return s, nil
}

// takeLock tries for a second: a status command asking whether an agent runs holds the lock for a moment.
func takeLock(path string) (*os.File, error) {
	const tries, between = 20, 50 * time.Millisecond
	for n := 1; ; n++ {
		f, err := durable.Lock(path, false)
		if n == tries || !errors.Is(err, durable.ErrLocked) {
			return f, err
		}
		<-time.After(between)
	}
}

// Close gives up ownership.
func (s *Spool) Close() error {
	if s.lock == nil {
		return nil
	}
	return s.lock.Close()
}

// Owned tells whether some agent owns the spool in dir at the moment.
func Owned(dir string) bool {
	lock, err := durable.Lock(filepath.Join(dir, "lock"), false)
	if err != nil {
		return errors.Is(err, durable.ErrLocked)
	}
	_ = lock.Close() // nothing was written through it
	return false
}

// recover brings every folder to the state its state.json names.
func (s *Spool) recover() error {
	if err := s.clearTemp(); err != nil {
		return err
	}
	for _, state := range states {
		if err := durable.RemoveTemps(s.fs, filepath.Join(s.dir, string(state), "*")); err != nil {
			return err
		}
		items, err := s.List(state)
		if err != nil && !fault.Is(err, fault.Corrupt) {
			return err
		}
		for _, it := range items {
			if err := s.recoverItem(it); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Spool) recoverItem(it *Item) error {
	if want := it.Status.State; want != it.State {
		if err := s.rename(it, want); err != nil {
			return err
		}
	}
	if it.State == Sent || it.State == Answered {
		if err := s.dropImages(it); err != nil {
			return err
		}
	}
	if it.State == Sent {
		s.sent[it.Status.RequestID] = filepath.Base(it.dir)
	}
	if it.Origin == nil {
		return nil
	}
	_, err := os.Stat(filepath.Join(it.dir, movedFile))
	if errors.Is(err, fs.ErrNotExist) {
		s.unmoved[it.ID] = *it.Origin
		return nil
	}
	return err
}

// clearTemp removes half-written items. Holding add.lock proves that no process is writing one.
func (s *Spool) clearTemp() error {
	lock, err := durable.Lock(filepath.Join(s.dir, "add.lock"), true)
	if err != nil {
		return err
	}
	defer lock.Close() //nolint:errcheck // only its lock matters
	entries, err := os.ReadDir(filepath.Join(s.dir, tempDir))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := s.fs.RemoveAll(filepath.Join(s.dir, tempDir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// List gives the items in a state: urgent ones first, then in order of creation.
// Errors: fault.Corrupt when a stored description cannot be read; the other items are given all the same.
func (s *Spool) List(state State) ([]*Item, error) {
	var items []*Item
	err := s.Each(state, func(ItemID) bool { return true }, func(it *Item) error {
		items = append(items, it)
		return nil
	})
	return items, err
}

// Each loads, one after another and in the order of List, those items that want approves, and hands them to do until it fails.
// Errors: that of do; otherwise as List.
func (s *Spool) Each(state State, want func(ItemID) bool, do func(*Item) error) error {
	folders, err := s.folders(state)
	if err != nil {
		return err
	}
	var corrupt error
	for _, name := range folders {
		if !want(ItemID(name[len("0-"):])) {
			continue
		}
		it, err := s.load(state, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it moved on meanwhile
		}
		if fault.Is(err, fault.Corrupt) {
			corrupt = err
			continue
		}
		if err != nil {
			return err
		}
		if err := do(it); err != nil {
			return err
		}
	}
	return corrupt
}

// Count gives the number of items in a state, without reading them.
func (s *Spool) Count(state State) (int, error) {
	folders, err := s.folders(state)
	return len(folders), err
}

// Get finds an item in any state. Errors: fault.NotFound.
func (s *Spool) Get(id ItemID) (*Item, error) {
	for _, state := range states {
		folders, err := s.folders(state)
		if err != nil {
			return nil, err
		}
		for _, name := range folders {
			if strings.HasSuffix(name, string(id)) {
				it, err := s.load(state, name)
				if errors.Is(err, fs.ErrNotExist) {
					break // it moved on meanwhile, to a state that is looked at next
				}
				return it, err
			}
		}
	}
	return nil, fault.E("spool.Get", fault.NotFound, fmt.Errorf("no item %s", id))
}

func (s *Spool) folders(state State) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, string(state)))
	if err != nil {
		return nil, fault.E("spool.List", fault.Unavailable, err)
	}
	list := make([]string, 0, len(entries))
	for _, e := range entries {
		if e.IsDir() && (strings.HasPrefix(e.Name(), "0-itm_") || strings.HasPrefix(e.Name(), "1-itm_")) {
			list = append(list, e.Name())
		}
	}
	slices.Sort(list)
	return list, nil
}

func (s *Spool) load(state State, name string) (*Item, error) {
	it := &Item{State: state, dir: filepath.Join(s.dir, string(state), name)}
	if err := readJSON(filepath.Join(it.dir, itemFile), it); err != nil {
		return nil, err
	}
	err := readJSON(filepath.Join(it.dir, stateFile), &it.Status)
	if errors.Is(err, fs.ErrNotExist) {
		it.Status.State = Waiting // never attempted
		_, err = os.Stat(it.dir)
	}
	return it, err
}

func readJSON(path string, v any) error {
	b, err := os.ReadFile(path) //nolint:gosec // paths come from the spool's own folders
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fault.E("spool", fault.Corrupt, fmt.Errorf("%s: %w", filepath.Base(path), err))
	}
	return nil
}

func names(list []State) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = string(s)
	}
	return out
}
