package edge

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"kenkyo/internal/edge/spool"
	"kenkyo/internal/edge/watch"
	"kenkyo/internal/fault"
)

// sentDir is where files go, inside the watched folder, once they are in the queue.
const sentDir = ".sent"

// takeLoop looks at the watched folder at every interval and takes what is complete.
func (a *Agent) takeLoop(ctx context.Context, stop context.CancelCauseFunc) {
	t := &taker{agent: a, watcher: a.watcher(), refused: map[string]refusal{}}
	for {
		if err := t.round(ctx); err != nil {
			a.config.Log.Warn("cannot take images from the watched folder", slog.String("cause", shortCause(err)))
			a.setSettled(false, 0)
		}
		a.checkDone(stop)
		if !pause(ctx, a.config.Interval, nil) {
			return
		}
	}
}

// taker turns candidates into queued items and moves their files away.
type taker struct {
	agent   *Agent
	watcher *watch.Watcher
	refused map[string]refusal // by candidate path: what could not be read, until it changes
}

type refusal struct {
	print string
	cause error
}

func (t *taker) round(ctx context.Context) error {
	a := t.agent
	if err := t.moveLeftovers(); err != nil {
		return err
	}
	found, err := t.watcher.Look(time.Now(), t.taken())
	if err != nil {
		return err
	}
	problems := found.Problems
	refused := map[string]refusal{}
	for _, c := range found.Candidates {
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the program ends; the rest is taken by the next run
		}
		if old, ok := t.refused[c.Path]; ok && old.print == c.Fingerprint() {
			refused[c.Path] = old
			continue
		}
		err := t.take(c)
		switch {
		case fault.Is(err, fault.Invalid):
			refused[c.Path] = refusal{c.Fingerprint(), errors.New(fault.Message(err))}
		case err != nil:
			return err
		}
	}
	t.refused = refused
	for path, r := range refused {
		problems = append(problems, watch.Problem{Path: path, Cause: r.cause})
	}
	slices.SortFunc(problems, func(x, y watch.Problem) int { return strings.Compare(x.Path, y.Path) })
	a.board.problems(problems)
	if len(found.Candidates) > len(refused) {
		select {
		case a.kick <- struct{}{}:
		default:
		}
	}
	a.setSettled(found.Unsettled == 0 && len(a.queue.Unmoved()) == 0, len(problems))
	return nil
}

// take stores one candidate durably, then moves its files away.
func (t *taker) take(c watch.Candidate) error {
	a := t.agent
	sub := spool.Submission{
		SpecimenID: c.Specimen, Assay: c.Ready.Assay, Condition: c.Ready.Condition, Priority: c.Ready.Priority,
		CapturedAt: c.Ready.CapturedAt, PixelSizeUM: c.Ready.PixelSizeUM, Classification: c.Ready.Classification,
	}
	origin := &spool.Origin{Root: a.config.Watch}
	var sources []spool.Source
	for _, f := range c.Images {
		if c.Ready.CapturedAt.IsZero() && (sub.CapturedAt.IsZero() || f.ModTime.Before(sub.CapturedAt)) {
			sub.CapturedAt = f.ModTime.UTC().Truncate(time.Second)
		}
		sources = append(sources, spool.Source{Name: filepath.Base(f.Path), Path: filepath.Join(a.config.Watch, f.Path)})
	}
	for _, f := range slices.Concat(c.Images, c.Marks) {
		origin.Files = append(origin.Files, spool.OriginFile{Path: f.Path, Bytes: f.Bytes, ModTime: f.ModTime})
	}
	it, err := a.queue.Add(sub, sources, origin)
	if err != nil {
		return err
	}
	a.config.Log.Info("taken into the queue", slog.String("item", string(it.ID)), slog.Int("images", len(it.Images)))
	return t.moveAway(it.ID, *origin)
}

// taken tells which files are in the queue already, though they could not be moved away yet.
func (t *taker) taken() func(watch.File) bool {
	known := map[string]spool.OriginFile{}
	for _, o := range t.agent.queue.Unmoved() {
		if o.Root != t.agent.config.Watch {
			continue
		}
		for _, f := range o.Files {
			known[f.Path] = f
		}
	}
	return func(f watch.File) bool {
		k, ok := known[f.Path]
		return ok && k.Bytes == f.Bytes && k.ModTime.Equal(f.ModTime)
	}
}

// moveLeftovers moves what an earlier round, or an earlier process, has stored but not moved.
func (t *taker) moveLeftovers() error {
	for id, o := range t.agent.queue.Unmoved() {
		if o.Root != t.agent.config.Watch {
			continue // another folder's: its own run will see to it
		}
		if err := t.moveAway(id, o); err != nil {
			return err
		}
	}
	return nil
}

// moveAway moves an item's files to .sent/<specimen folder>/<item>/. A file that changed since it was read stays: it is a new one.
// A file another program holds open is tried again at the next round.
func (t *taker) moveAway(id spool.ItemID, o spool.Origin) error {
	disk := t.agent.config.FS
	for _, f := range o.Files {
		path := filepath.Join(o.Root, f.Path)
		info, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fault.E("edge.moveAway", fault.Unavailable, err)
		}
		if info.Size() != f.Bytes || !info.ModTime().Equal(f.ModTime) {
			continue
		}
		group, _, _ := strings.Cut(filepath.ToSlash(f.Path), "/")
		target := filepath.Join(o.Root, sentDir, strings.TrimSuffix(group, filepath.Ext(f.Path)), string(id))
		if err := disk.Mkdir(target); err != nil {
			return fault.E("edge.moveAway", fault.Unavailable, err)
		}
		if err := disk.Rename(path, filepath.Join(target, filepath.Base(f.Path))); err != nil {
			return fault.E("edge.moveAway", fault.Unavailable, err)
		}
		// Both ends, before the move is recorded as done: a file that came back after power loss would be sent twice.
		for _, dir := range []string{target, filepath.Dir(target), filepath.Join(o.Root, sentDir), o.Root, filepath.Dir(path)} {
			if err := disk.SyncDir(dir); err != nil {
				return fault.E("edge.moveAway", fault.Unavailable, err)
			}
		}
	}
	for _, f := range o.Files {
		if dir := filepath.Dir(f.Path); dir != "." {
			_ = os.Remove(filepath.Join(o.Root, dir)) // the specimen's folder, when it is empty by now
			break
		}
	}
	return t.agent.queue.Moved(id)
}

// shortCause gives an error's text without paths, which may hold a patient's number.
func shortCause(err error) string {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Op + ": " + path.Err.Error()
	}
	var link *os.LinkError
	if errors.As(err, &link) {
		return link.Op + ": " + link.Err.Error()
	}
	return fault.Message(err)
}
