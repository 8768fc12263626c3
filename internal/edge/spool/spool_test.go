package spool

import (
	"bytes"
	"errors"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kenkyo/internal/edge/durable"
	"kenkyo/internal/fault"
	"kenkyo/internal/lab"
)

func open(t *testing.T, dir string) *Spool {
	t.Helper()
	s, err := Open(dir, durable.OS{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // some tests close it before
	return s
}

func source(t *testing.T) []Source {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, 9, 9))); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "a.png")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return []Source{{Name: "a.png", Path: path}}
}

func add(t *testing.T, s *Spool, specimen lab.SpecimenID, priority lab.Priority) *Item {
	t.Helper()
	it, err := s.Add(Submission{SpecimenID: specimen, Priority: priority}, source(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	return it
}

func specimens(t *testing.T, s *Spool, state State) []lab.SpecimenID {
	t.Helper()
	items, err := s.List(state)
	if err != nil {
		t.Fatal(err)
	}
	list := []lab.SpecimenID{}
	for _, it := range items {
		list = append(list, it.SpecimenID)
	}
	return list
}

func TestWaitingItemsComeUrgentFirstThenByAge(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	clock := time.Now()
	s.now = func() time.Time { clock = clock.Add(time.Second); return clock }
	add(t, s, "1", lab.PriorityRoutine)
	add(t, s, "2", "")
	add(t, s, "3", lab.PrioritySTAT)
	add(t, s, "4", lab.PrioritySTAT)
	if diff := cmp.Diff([]lab.SpecimenID{"3", "4", "1", "2"}, specimens(t, s, Waiting)); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

func TestItemIsReadableByItsOwnerOnlyAndGoneWhenAccepted(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	it := add(t, s, "1", "")
	path := it.Path(it.Images[0])
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("stored image: %v, %v; want mode 0600", info, err)
	}
	if err := s.Accepted(it, "req_1", time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(it.Path(it.Images[0])); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("image after acceptance: %v, want it deleted", err)
	}
}

func TestAddRefusesWhatIsNoImageAndLeavesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	bad := filepath.Join(t.TempDir(), "b.png")
	if err := os.WriteFile(bad, []byte("text, no image"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := s.Add(Submission{SpecimenID: "1"}, append(source(t), Source{"b.png", bad}), nil)
	if !fault.Is(err, fault.Invalid) {
		t.Errorf("Add = %v, want fault.Invalid", err)
	}
	for _, sub := range []string{tempDir, string(Waiting)} {
		entries, err := os.ReadDir(filepath.Join(dir, sub))
		if err != nil || len(entries) != 0 {
			t.Errorf("%s holds %v, %v; want nothing", sub, entries, err)
		}
	}
}

func TestAnswerComesBeforeOrAfterAcceptanceIsKnown(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	early, late := add(t, s, "early", ""), add(t, s, "late", "")
	steps := []func() error{
		func() error { return s.Answer("req_early") },
		func() error { return s.Accepted(early, "req_early", time.Time{}) },
		func() error { return s.Accepted(late, "req_late", time.Time{}) },
		s.Tidy,
		func() error { return s.Answer("req_late") },
		func() error { return s.Answer("req_late") },
		func() error { return s.Answer("req_of_another_device") },
		func() error { return s.Answer("../../escape") },
	}
	for i, step := range steps {
		if err := step(); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
	}
	got := specimens(t, s, Answered)
	slices.Sort(got)
	if diff := cmp.Diff([]lab.SpecimenID{"early", "late"}, got); diff != "" {
		t.Errorf("answered (-want +got):\n%s", diff)
	}
}

func TestTransitionsFromTheWrongStateAreConflicts(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	it := add(t, s, "1", "")
	if err := s.Retry(it.ID); !fault.Is(err, fault.Conflict) {
		t.Errorf("Retry of a waiting item = %v, want fault.Conflict", err)
	}
	if err := s.Discard(it.ID); !fault.Is(err, fault.Conflict) {
		t.Errorf("Discard of a waiting item = %v, want fault.Conflict", err)
	}
	if err := s.Discard("itm_absent"); !fault.Is(err, fault.NotFound) {
		t.Errorf("Discard of no item = %v, want fault.NotFound", err)
	}
	if err := s.Hold(it, Reason{Status: 422, Title: "refused"}); err != nil {
		t.Fatal(err)
	}
	if err := s.Discard(it.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(it.ID); !fault.Is(err, fault.NotFound) {
		t.Errorf("Get after Discard = %v, want fault.NotFound", err)
	}
}

func TestOneOwnerAndManyVisitors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	if _, err := Open(dir, durable.OS{}); !fault.Is(err, fault.Conflict) {
		t.Errorf("second Open = %v, want fault.Conflict", err)
	}
	visitor, err := Attach(dir, durable.OS{})
	if err != nil {
		t.Fatal(err)
	}
	add(t, visitor, "from beside", "")
	if diff := cmp.Diff([]lab.SpecimenID{"from beside"}, specimens(t, s, Waiting)); diff != "" {
		t.Errorf("owner sees (-want +got):\n%s", diff)
	}
	if !Owned(dir) {
		t.Error("Owned = false while a process owns it")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if Owned(dir) {
		t.Error("Owned = true after Close")
	}
}

func TestADamagedItemDoesNotStopTheOthers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	bad, good := add(t, s, "bad", ""), add(t, s, "good", "")
	if err := os.WriteFile(filepath.Join(bad.dir, itemFile), []byte(`{"id":`), 0o600); err != nil {
		t.Fatal(err)
	}
	items, err := s.List(Waiting)
	if !fault.Is(err, fault.Corrupt) || len(items) != 1 || items[0].ID != good.ID {
		t.Errorf("List = %v, %v; want the good item and fault.Corrupt", items, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
}

func TestAnsweredItemsAreForgottenAfterAWeek(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	it := add(t, s, "1", "")
	if err := errors.Join(s.Accepted(it, "req_1", time.Time{}), s.Answer("req_1"), s.Tidy()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ days, want int }{{6, 1}, {8, 0}} {
		s.now = func() time.Time { return time.Now().AddDate(0, 0, c.days) }
		if err := s.Tidy(); err != nil {
			t.Fatal(err)
		}
		if n, err := s.Count(Answered); err != nil || n != c.want {
			t.Errorf("after %d days: %d answered, %v; want %d", c.days, n, err, c.want)
		}
	}
}
