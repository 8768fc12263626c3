package imagefile

import (
	"encoding/binary"
	"io"
	"slices"
)

// tiffKept are the fields that describe the pixels. 34675 is the ICC profile.
var tiffKept = map[uint16]bool{
	tagWidth: true, tagHeight: true, 258: true, tagCompression: true, 262: true, 266: true, tagOrientation: true, 277: true,
	278: true, 280: true, 281: true, 282: true, 283: true, 284: true, 292: true, 293: true, 296: true, 317: true, 318: true,
	319: true, 320: true, 322: true, 323: true, 332: true, 334: true, 338: true, 339: true, 340: true, 341: true, 529: true,
	530: true, 531: true, 532: true, 34675: true,
	tagStripOffsets: true, tagStripCounts: true, tagTileOffsets: true, tagTileCnts: true,
}

// maxStrips bounds the strips or tiles of one image, and with them the memory their list takes.
const maxStrips = 1 << 17

// tiffFile is a TIFF being rewritten: header, one directory, its values, then the pixels.
type tiffFile struct {
	r       io.ReaderAt
	size    int64
	order   binary.ByteOrder
	entries []tiffEntry
	dir     tiffDir
	offsets []int64
	counts  []int64
}

// tiff writes a new file of the first page: a TIFF is a web of offsets, and anything may hide in what no offset names.
func (s *stripper) tiff() error {
	r, size, err := s.at()
	if err != nil {
		return err
	}
	f := &tiffFile{r: r, size: size}
	if err := f.readDirectory(); err != nil {
		return err
	}
	if f.offsets, err = f.numbers(f.dir.offsets); err != nil {
		return err
	}
	if f.counts, err = f.numbers(f.dir.counts); err != nil {
		return err
	}
	var total int64
	for i, at := range f.offsets {
		if at+f.counts[i] > size {
			return truncated(TIFF)
		}
		total += f.counts[i]
	}
	if total > size {
		return damaged(TIFF, "its strips overlap")
	}
	return f.write(s)
}

func (f *tiffFile) readDirectory() error {
	var head [8]byte
	if _, err := f.r.ReadAt(head[:], 0); err != nil {
		return err
	}
	f.order = tiffOrder(head[:2])
	at := int64(f.order.Uint32(head[4:]))
	if _, err := f.r.ReadAt(head[:2], at); err != nil {
		return err
	}
	b := make([]byte, 12*int(f.order.Uint16(head[:2])))
	if len(b) > maxCollect {
		return damaged(TIFF, "a directory of %d fields", len(b)/12)
	}
	if _, err := f.r.ReadAt(b, at+2); err != nil {
		return err
	}
	seen := map[uint16]bool{}
	for ; len(b) > 0; b = b[12:] {
		e := readEntry(f.order, b)
		if !tiffKept[e.tag] {
			continue
		}
		if seen[e.tag] {
			return damaged(TIFF, "a field is there twice")
		}
		seen[e.tag] = true
		if e.size() == 0 || e.size() > f.size {
			return damaged(TIFF, "a field of impossible length")
		}
		f.entries = append(f.entries, e)
		f.dir.add(f.order, e)
	}
	if seen[tagStripOffsets] && seen[tagTileOffsets] {
		return damaged(TIFF, "it has both strips and tiles")
	}
	slices.SortFunc(f.entries, func(a, b tiffEntry) int { return int(a.tag) - int(b.tag) })
	return f.dir.check()
}

// numbers reads an array of SHORT or LONG.
func (f *tiffFile) numbers(e tiffEntry) ([]int64, error) {
	if e.count > maxStrips {
		return nil, unsupported(TIFF, "more than %d strips", maxStrips)
	}
	b := e.value[:min(4, e.size())]
	if e.size() > 4 {
		b = make([]byte, e.size())
		if _, err := f.r.ReadAt(b, e.offset(f.order)); err != nil {
			return nil, err
		}
	}
	list := make([]int64, e.count)
	for i := range list {
		if e.typ == tiffShort {
			list[i] = int64(f.order.Uint16(b[2*i:]))
		} else {
			list[i] = int64(f.order.Uint32(b[4*i:]))
		}
	}
	return list, nil
}

// write lays the file out in the order it is written, so that one pass suffices.
func (f *tiffFile) write(s *stripper) error {
	const header = 8
	directory := header + 2 + 12*int64(len(f.entries)) + 4
	next := directory // once every value has its place: where the pixels begin
	var values []func() error
	out := slices.Clone(f.entries)
	for i, e := range f.entries {
		if e.tag == tagStripOffsets || e.tag == tagTileOffsets {
			out[i].typ = tiffLong
		}
		n := out[i].size()
		if n <= 4 {
			clear(out[i].value[n:]) // what a short value leaves of its four bytes is nobody's
			continue
		}
		f.order.PutUint32(out[i].value[:], uint32(next))
		next += n + n&1
		if e.tag != tagStripOffsets && e.tag != tagTileOffsets {
			values = append(values, func() error { return s.copyEven(f.r, e.offset(f.order), n) })
			continue
		}
		values = append(values, func() error { return f.writeOffsets(s, next) })
	}
	for i := range out {
		if (out[i].tag == tagStripOffsets || out[i].tag == tagTileOffsets) && out[i].count == 1 {
			f.order.PutUint32(out[i].value[:], uint32(next))
		}
	}
	if next+2*f.size > 1<<32 {
		return unsupported(TIFF, "more than 2 GiB")
	}
	if _, err := s.dst.Write(f.header(out)); err != nil {
		return err
	}
	for _, value := range values {
		if err := value(); err != nil {
			return err
		}
	}
	for i, at := range f.offsets {
		if err := s.copyEven(f.r, at, f.counts[i]); err != nil {
			return err
		}
	}
	return nil
}

func (f *tiffFile) header(entries []tiffEntry) []byte {
	b := []byte("II")
	if f.order == binary.ByteOrder(binary.BigEndian) {
		b = []byte("MM")
	}
	put16 := func(v uint16) { b = append(b, 0, 0); f.order.PutUint16(b[len(b)-2:], v) }
	put32 := func(v uint32) { b = append(b, 0, 0, 0, 0); f.order.PutUint32(b[len(b)-4:], v) }
	put16(42)
	put32(8)
	put16(uint16(len(entries)))
	for _, e := range entries {
		put16(e.tag)
		put16(e.typ)
		put32(uint32(e.count))
		b = append(b, e.value[:]...)
	}
	put32(0) // no further page
	return b
}

// writeOffsets writes where each strip will lie when the first begins at next.
func (f *tiffFile) writeOffsets(s *stripper, next int64) error {
	b := make([]byte, 4*len(f.counts))
	for i, n := range f.counts {
		f.order.PutUint32(b[4*i:], uint32(next))
		next += n + n&1
	}
	_, err := s.dst.Write(b)
	return err
}

// copyEven copies n bytes and pads to an even length, since TIFF values begin on word boundaries.
func (s *stripper) copyEven(r io.ReaderAt, at, n int64) error {
	if err := s.copyAt(r, at, n); err != nil || n&1 == 0 {
		return err
	}
	_, err := s.dst.Write([]byte{0})
	return err
}
