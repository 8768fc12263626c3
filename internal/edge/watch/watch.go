// Package watch finds what a microscope or analyser has put into a folder and says when it is complete.
//
//	DIR/<specimen>/<images>        one submission per folder
//	DIR/<specimen>/.ready          complete now (an empty file)
//	DIR/<specimen>/ready.json      complete now, with assay, condition, priority, captured_at, pixel_size_um, classification
//	DIR/<image>                    a submission by itself; the specimen is the file's name without its extension
//
// Without a ready file, a submission is complete when nothing about its files has changed for the settle time. Names that begin
// with a dot or end like a download in progress are left alone, and so are folders inside a specimen's folder. The folder is read by
// listing, not by notifications, which network shares do not deliver.
//
// It reads names, sizes and times, and the first bytes of files without a known extension. It changes nothing.
package watch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"kenkyo/internal/fault"
	"kenkyo/internal/lab"
	"kenkyo/internal/standard/imagefile"
)

// Names of the files that say a folder is complete.
const (
	ReadyMark = ".ready"
	ReadyFile = "ready.json"
)

// File is one file of a candidate as it was seen.
type File struct {
	Path    string // relative to the watched folder
	Bytes   int64
	ModTime time.Time
}

// Candidate is one complete submission.
type Candidate struct {
	Path     string // relative path of the folder or file it was found at
	Specimen lab.SpecimenID
	Images   []File // in order of their names
	Marks    []File // ready files, to be moved along
	Ready    Ready
}

// Ready is the content of ready.json. Every field is optional.
type Ready struct {
	Assay          string          `json:"assay"`
	Condition      string          `json:"condition"`
	Priority       lab.Priority    `json:"priority"`
	CapturedAt     time.Time       `json:"captured_at"`
	PixelSizeUM    float64         `json:"pixel_size_um"`
	Classification json.RawMessage `json:"classification"`
}

// Problem is something in the folder that cannot become a submission until a person changes it.
type Problem struct {
	Path  string
	Cause error
}

// Found is what one look at the folder showed.
type Found struct {
	Candidates []Candidate
	Problems   []Problem
	Unsettled  int // submissions that are not complete yet
}

// Watcher looks at one folder again and again. One goroutine at a time.
type Watcher struct {
	dir    string
	settle time.Duration
	seen   map[string]sight
}

// sight is how a submission looked, and since when it has looked so.
type sight struct {
	print string
	since time.Time
}

// New watches dir. settle is how long nothing may change before a submission without a ready file is complete.
func New(dir string, settle time.Duration) *Watcher {
	return &Watcher{dir: dir, settle: settle, seen: map[string]sight{}}
}

// Look lists the folder at the given time, of a clock that only moves forward. Files for which skip is true are treated as absent.
// Errors: fault.Unavailable when the folder itself cannot be read.
func (w *Watcher) Look(now time.Time, skip func(File) bool) (Found, error) {
	entries, err := os.ReadDir(w.dir)
	if err != nil {
		return Found{}, fault.E("watch.Look", fault.Unavailable, err)
	}
	var found Found
	seen := map[string]sight{}
	for _, e := range entries {
		if ignored(e.Name()) {
			continue
		}
		c, err := w.candidate(e, skip)
		if errors.Is(err, fs.ErrNotExist) {
			continue // gone between listing and looking
		}
		if len(c.Images) == 0 && len(c.Marks) == 0 && err == nil {
			continue
		}
		s := w.sight(c, now)
		seen[c.Path] = s
		switch {
		case len(c.Marks) == 0 && now.Sub(s.since) < w.settle:
			found.Unsettled++
		case err != nil:
			found.Problems = append(found.Problems, Problem{c.Path, err})
		case len(c.Images) == 0:
			found.Problems = append(found.Problems, Problem{c.Path, errors.New("it is marked ready but holds no image")})
		default:
			found.Candidates = append(found.Candidates, c)
		}
	}
	w.seen = seen
	return found, nil
}

func (w *Watcher) sight(c Candidate, now time.Time) sight {
	print := c.Fingerprint()
	if old, ok := w.seen[c.Path]; ok && old.print == print {
		return old
	}
	return sight{print, now}
}

// Fingerprint changes whenever a file of the candidate appears, goes, grows or is written again.
func (c Candidate) Fingerprint() string {
	var b strings.Builder
	for _, f := range slices.Concat(c.Images, c.Marks) {
		fmt.Fprintf(&b, "%q %d %d\n", f.Path, f.Bytes, f.ModTime.UnixNano())
	}
	return b.String()
}

func (w *Watcher) candidate(e fs.DirEntry, skip func(File) bool) (Candidate, error) {
	c := Candidate{Path: e.Name()}
	if !e.IsDir() {
		c.Specimen = lab.SpecimenID(strings.TrimSuffix(e.Name(), filepath.Ext(e.Name())))
		return c, w.add(&c, e, e.Name(), skip)
	}
	c.Specimen = lab.SpecimenID(e.Name())
	entries, err := os.ReadDir(filepath.Join(w.dir, e.Name()))
	if err != nil {
		return c, err
	}
	for _, inner := range entries {
		if inner.Name() != ReadyMark && (ignored(inner.Name()) || inner.IsDir()) {
			continue
		}
		if err := w.add(&c, inner, filepath.Join(e.Name(), inner.Name()), skip); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return c, err
		}
	}
	return c, w.readReady(&c)
}

// add sorts one file: image, mark, or nothing of ours.
func (w *Watcher) add(c *Candidate, e fs.DirEntry, rel string, skip func(File) bool) error {
	info, err := e.Info()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return nil // a link could lead out of the folder
	}
	f := File{Path: rel, Bytes: info.Size(), ModTime: info.ModTime()}
	if skip(f) {
		return nil
	}
	if name := filepath.Base(rel); rel != name && (name == ReadyMark || name == ReadyFile) {
		c.Marks = append(c.Marks, f)
		return nil
	}
	image, err := isImage(filepath.Join(w.dir, rel))
	if err == nil && image {
		c.Images = append(c.Images, f)
	}
	return err
}

func (w *Watcher) readReady(c *Candidate) error {
	for _, f := range c.Marks {
		if filepath.Base(f.Path) != ReadyFile {
			continue
		}
		b, err := os.ReadFile(filepath.Join(w.dir, f.Path))
		if err != nil {
			return err
		}
		d := json.NewDecoder(bytes.NewReader(b))
		d.DisallowUnknownFields()
		if err := d.Decode(&c.Ready); err != nil {
			return fmt.Errorf("%s: %w", ReadyFile, err)
		}
	}
	switch c.Ready.Priority {
	case "", lab.PriorityRoutine, lab.PrioritySTAT:
		return nil
	}
	return fmt.Errorf("%s: priority must be routine or stat", ReadyFile)
}

// ignored names are those of systems and of programs that are still writing.
func ignored(name string) bool {
	lower := strings.ToLower(name)
	switch {
	case strings.HasPrefix(name, "."), strings.HasPrefix(name, "~"), strings.HasSuffix(name, "~"):
		return true
	case lower == "thumbs.db", lower == "desktop.ini", lower == "$recycle.bin", lower == "system volume information":
		return true
	}
	switch filepath.Ext(lower) {
	case ".tmp", ".part", ".partial", ".crdownload", ".filepart":
		return true
	}
	return false
}

// isImage goes by the extension, so that a damaged image is noticed rather than passed over, and by the first bytes otherwise.
func isImage(path string) (bool, error) {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp":
		return true, nil
	}
	f, err := os.Open(path) //nolint:gosec // a file of the watched folder
	if err != nil {
		return false, err
	}
	defer f.Close() //nolint:errcheck // it is only read
	var head [12]byte
	n, err := io.ReadFull(f, head[:])
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return false, err
	}
	return imagefile.Sniff(head[:n]) != "", nil
}
