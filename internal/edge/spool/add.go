package spool

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"kenkyo/internal/edge/durable"
	"kenkyo/internal/fault"
	"kenkyo/internal/lab"
	"kenkyo/internal/standard/imagefile"
)

// Source is an image to take in: its name at the hospital and where its bytes are.
type Source struct {
	Name string
	Path string
}

// Add stores a submission with its images, stripped of metadata, and gives the item. After it returns nil the item survives kill -9
// and power loss; after an error nothing is stored. Sources are left as they are.
// Errors: fault.Invalid, with the index and the fault of an image this platform does not read; fault.Unavailable when the disk fails.
func (s *Spool) Add(sub Submission, sources []Source, origin *Origin) (*Item, error) {
	const op = "spool.Add"
	if len(sources) == 0 || sub.SpecimenID == "" {
		return nil, fault.E(op, fault.Invalid, errors.New("a submission needs a specimen ID and at least one image"))
	}
	lock, err := durable.Lock(filepath.Join(s.dir, "add.lock"), true)
	if err != nil {
		return nil, fault.E(op, fault.Unavailable, err)
	}
	defer lock.Close() //nolint:errcheck // only its lock matters
	now := s.now()
	it := &Item{ID: newItemID(now), CreatedAt: now.UTC(), Submission: sub, Origin: origin, State: Waiting}
	it.Status.State = Waiting
	it.dir = filepath.Join(s.dir, tempDir, folderName(it))
	if err := s.write(it, sources); err != nil {
		kind := fault.Unavailable
		if fault.Is(err, fault.Invalid) {
			kind = fault.Invalid
		}
		return nil, fault.E(op, kind, errors.Join(err, s.fs.RemoveAll(it.dir)))
	}
	if err := s.publish(it); err != nil {
		return nil, fault.E(op, fault.Unavailable, err)
	}
	if origin != nil {
		s.mu.Lock()
		s.unmoved[it.ID] = *origin
		s.mu.Unlock()
	}
	return it, nil
}

// write fills the temporary folder and makes its content durable.
func (s *Spool) write(it *Item, sources []Source) error {
	if err := s.fs.Mkdir(it.dir); err != nil {
		return err
	}
	for i, src := range sources {
		img, err := s.writeImage(it.dir, i, src)
		if err != nil {
			return err
		}
		it.Images = append(it.Images, img)
	}
	b, err := json.Marshal(it)
	if err != nil {
		return err
	}
	if err := durable.WriteSynced(s.fs, filepath.Join(it.dir, itemFile), b); err != nil {
		return err
	}
	return s.fs.SyncDir(it.dir)
}

// publish renames the folder into the queue. When the name cannot be made durable it is taken back, so that a caller who adds the
// same images again does not send them twice.
func (s *Spool) publish(it *Item) error {
	temp := it.dir
	it.dir = filepath.Join(s.dir, string(Waiting), filepath.Base(temp))
	if err := s.fs.Rename(temp, it.dir); err != nil {
		return errors.Join(err, s.fs.RemoveAll(temp))
	}
	if err := s.fs.SyncDir(filepath.Dir(it.dir)); err != nil {
		return errors.Join(err, s.fs.Rename(it.dir, temp), s.fs.RemoveAll(temp))
	}
	return nil
}

func (s *Spool) writeImage(dir string, index int, src Source) (Image, error) {
	in, err := os.Open(src.Path)
	if err != nil {
		return Image{}, err
	}
	defer in.Close() //nolint:errcheck // it is only read
	var head [12]byte
	n, err := in.ReadAt(head[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return Image{}, err
	}
	format := imagefile.Sniff(head[:n])
	img := Image{File: fmt.Sprintf("%03d.%s", index+1, extension(format)), Name: src.Name}
	out, err := s.fs.Create(filepath.Join(dir, img.File))
	if err != nil {
		return Image{}, err
	}
	count := &counter{hash: sha256.New()}
	err = imagefile.StripMetadata(io.MultiWriter(out, count), in)
	if err == nil {
		err = out.Sync()
	}
	if err := errors.Join(err, out.Close()); err != nil {
		return Image{}, fault.E("spool.writeImage", fault.KindOf(err), fmt.Errorf("image %d: %s", index+1, fault.Message(err)))
	}
	img.SHA256, img.Bytes = hex.EncodeToString(count.hash.Sum(nil)), count.bytes
	return img, nil
}

// counter digests and counts what is written to it.
type counter struct {
	hash  hash.Hash
	bytes int64
}

func (c *counter) Write(p []byte) (int, error) {
	c.bytes += int64(len(p))
	return c.hash.Write(p)
}

func extension(f imagefile.Format) string {
	switch f { //nolint:exhaustive // the other formats are named as their files are
	case imagefile.JPEG:
		return "jpg"
	case "":
		return "bin"
	}
	return string(f)
}

// folderName sorts urgent items first, then by age.
func folderName(it *Item) string {
	rank := "1-"
	if it.Priority == lab.PrioritySTAT {
		rank = "0-"
	}
	return rank + string(it.ID)
}

// newItemID gives an identifier that sorts by time of creation: 48 bits of milliseconds, 80 random bits.
func newItemID(now time.Time) ItemID {
	var b [16]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never fails: it ends the program instead
	ms := now.UnixMilli()
	for i := range 6 {
		b[i] = byte(ms >> (40 - 8*i)) //nolint:gosec // byte by byte
	}
	return ItemID("itm_" + hex.EncodeToString(b[:]))
}

// ParseItemID checks an identifier a person typed. Errors: fault.Invalid.
func ParseItemID(text string) (ItemID, error) {
	digits, ok := strings.CutPrefix(text, "itm_")
	if b, err := hex.DecodeString(digits); !ok || err != nil || len(b) != 16 {
		return "", fault.E("spool.ParseItemID", fault.Invalid, errors.New("an item ID is itm_ and 32 hexadecimal digits"))
	}
	return ItemID(text), nil
}
