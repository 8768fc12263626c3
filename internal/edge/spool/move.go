package spool

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"kenkyo/internal/edge/durable"
	"kenkyo/internal/fault"
	"kenkyo/internal/lab"
)

// Tried records an attempt that did not succeed, for people to see. Losing it in a crash loses nothing else.
func (s *Spool) Tried(it *Item, cause string) error {
	it.Status.Attempts++
	it.Status.LastTry, it.Status.LastError = s.now(), cause
	return s.writeStatus(it)
}

// Accepted records the platform's answer, given at clock by the platform's time, moves the item to sent and deletes its images.
func (s *Spool) Accepted(it *Item, request lab.RequestID, clock time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	it.Status.Attempts++
	it.Status.RequestID, it.Status.SentAt, it.Status.Clock, it.Status.LastError = request, s.now(), clock, ""
	err := s.transition(it, Sent)
	if it.State == Sent {
		s.sent[request] = filepath.Base(it.dir) // also when only the fsync behind the rename failed
	}
	if err == nil {
		err = s.dropImages(it)
	}
	if err != nil {
		return fault.E("spool.Accepted", fault.Unavailable, err)
	}
	return nil
}

// unaccepted counts the items an early answer could belong to.
func (s *Spool) unaccepted() (int, error) {
	waiting, err := s.Count(Waiting)
	if err != nil {
		return 0, err
	}
	held, err := s.Count(Held)
	return waiting + held, err
}

// Hold moves an item that the platform refuses for good out of the way, with the reason.
func (s *Spool) Hold(it *Item, reason Reason) error {
	it.Status.Attempts++
	it.Status.LastTry, it.Status.LastError, it.Status.Reason = s.now(), reason.String(), &reason
	if err := s.transition(it, Held); err != nil {
		return fault.E("spool.Hold", fault.Unavailable, err)
	}
	return nil
}

// Answer records that a final result for the request has been delivered. A request this spool does not know as sent is remembered
// as long as items wait or are held, since it may be the answer to one whose acceptance was lost on the way.
func (s *Spool) Answer(request lab.RequestID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if name, ok := s.sent[request]; ok {
		it, err := s.load(Sent, name)
		if err != nil {
			return fault.E("spool.Answer", fault.Unavailable, err)
		}
		return s.answer(it)
	}
	open, err := s.unaccepted()
	if err != nil || open == 0 {
		return err
	}
	early, ok := s.earlyPath(request)
	if !ok {
		return nil
	}
	if err := durable.WriteFile(s.fs, early, nil); err != nil {
		return fault.E("spool.Answer", fault.Unavailable, err)
	}
	return nil
}

// answer moves a sent item on; s.mu is held.
func (s *Spool) answer(it *Item) error {
	it.Status.AnsweredAt = s.now()
	err := s.transition(it, Answered)
	if it.State == Answered {
		delete(s.sent, it.Status.RequestID) // also when only the fsync behind the rename failed
	}
	if err != nil {
		return fault.E("spool.Answer", fault.Unavailable, err)
	}
	return nil
}

// Retry puts a held item back in the queue, with the same ID. Errors: fault.NotFound; fault.Conflict when it is not held.
func (s *Spool) Retry(id ItemID) error {
	it, err := s.held("spool.Retry", id)
	if err != nil {
		return err
	}
	it.Status.Reason, it.Status.LastError = nil, ""
	if err := s.transition(it, Waiting); err != nil {
		return fault.E("spool.Retry", fault.Unavailable, err)
	}
	return nil
}

// Discard deletes a held item with its images. Errors: fault.NotFound; fault.Conflict when it is not held.
func (s *Spool) Discard(id ItemID) error {
	it, err := s.held("spool.Discard", id)
	if err != nil {
		return err
	}
	lock, err := durable.Lock(filepath.Join(s.dir, "add.lock"), true)
	if err != nil {
		return fault.E("spool.Discard", fault.Unavailable, err)
	}
	defer lock.Close() //nolint:errcheck // only its lock matters
	rubbish := filepath.Join(s.dir, tempDir, filepath.Base(it.dir))
	if err := durable.Move(s.fs, it.dir, rubbish); err != nil {
		return fault.E("spool.Discard", fault.Unavailable, err)
	}
	if err := s.fs.RemoveAll(rubbish); err != nil {
		return fault.E("spool.Discard", fault.Unavailable, err)
	}
	return nil
}

func (s *Spool) held(op string, id ItemID) (*Item, error) {
	it, err := s.Get(id)
	if err != nil {
		return nil, err
	}
	if it.State != Held {
		return nil, fault.E(op, fault.Conflict, fmt.Errorf("%s is %s, not held", id, it.State))
	}
	return it, nil
}

// Tidy matches answers that came early with the items accepted since, forgets those that no item can claim any more, and deletes
// answered items after a week. Call it after every round of sending.
func (s *Spool) Tidy() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.matchEarly(); err != nil {
		return err
	}
	now := s.now()
	if now.Sub(s.pruned) < time.Hour {
		return nil
	}
	s.pruned = now
	items, err := s.List(Answered)
	if err != nil {
		return err
	}
	for _, it := range items {
		if _, open := s.unmoved[it.ID]; open || now.Sub(it.Status.AnsweredAt) < keepAnswered {
			continue
		}
		if err := s.fs.RemoveAll(it.dir); err != nil {
			return fault.E("spool.Tidy", fault.Unavailable, err)
		}
	}
	return nil
}

// matchEarly answers sent items whose answer came before their acceptance was known; s.mu is held.
func (s *Spool) matchEarly() error {
	entries, err := os.ReadDir(filepath.Join(s.dir, earlyDir))
	if err != nil || len(entries) == 0 {
		return err
	}
	open, err := s.unaccepted()
	if err != nil {
		return err
	}
	for _, e := range entries {
		name, claimed := s.sent[lab.RequestID(e.Name())]
		if claimed {
			it, err := s.load(Sent, name)
			if err != nil {
				return err
			}
			if err := s.answer(it); err != nil {
				return err
			}
		}
		if !claimed && open > 0 {
			continue
		}
		if err := s.fs.Remove(filepath.Join(s.dir, earlyDir, e.Name())); err != nil {
			return fault.E("spool.Tidy", fault.Unavailable, err)
		}
	}
	return nil
}

// Unmoved gives the items whose origin files are still to be moved away.
func (s *Spool) Unmoved() map[ItemID]Origin {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[ItemID]Origin, len(s.unmoved))
	for id, o := range s.unmoved {
		out[id] = o
	}
	return out
}

// Moved records that the origin files of an item are moved away.
func (s *Spool) Moved(id ItemID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	it, err := s.Get(id)
	if err == nil {
		if err = durable.WriteSynced(s.fs, filepath.Join(it.dir, movedFile), nil); err == nil {
			err = s.fs.SyncDir(it.dir)
		}
	}
	if err != nil && !fault.Is(err, fault.NotFound) && !errors.Is(err, fs.ErrNotExist) {
		return fault.E("spool.Moved", fault.Unavailable, err)
	}
	delete(s.unmoved, id)
	return nil
}

// transition writes where the item goes, then moves it there.
func (s *Spool) transition(it *Item, to State) error {
	it.Status.State = to
	if err := s.writeStatus(it); err != nil {
		return err
	}
	return s.rename(it, to)
}

func (s *Spool) rename(it *Item, to State) error {
	from, target := it.dir, filepath.Join(s.dir, string(to), filepath.Base(it.dir))
	if err := s.fs.Rename(from, target); err != nil {
		return err
	}
	it.dir, it.State = target, to
	if err := s.fs.SyncDir(filepath.Dir(target)); err != nil {
		return err
	}
	return s.fs.SyncDir(filepath.Dir(from))
}

func (s *Spool) writeStatus(it *Item) error {
	b, err := json.MarshalIndent(it.Status, "", "  ")
	if err != nil {
		return err
	}
	return durable.WriteFile(s.fs, filepath.Join(it.dir, stateFile), b)
}

func (s *Spool) dropImages(it *Item) error {
	for _, img := range it.Images {
		if err := s.fs.Remove(it.Path(img)); err != nil {
			return err
		}
	}
	return nil
}

// fileName is what a request identifier must look like to be part of a path.
var fileName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

func (s *Spool) earlyPath(request lab.RequestID) (string, bool) {
	return filepath.Join(s.dir, earlyDir, string(request)), fileName.MatchString(string(request))
}
