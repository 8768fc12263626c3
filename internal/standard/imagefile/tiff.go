package imagefile

import (
	"encoding/binary"
)

// Tags of a TIFF directory, TIFF 6.0 and its supplements, that this package reads or writes.
const (
	tagWidth, tagHeight         = 256, 257
	tagCompression              = 259
	tagStripOffsets             = 273
	tagOrientation              = 274
	tagStripCounts              = 279
	tagTileOffsets, tagTileCnts = 324, 325
)

const tiffShort, tiffLong = 3, 4

// tiffSizes gives the bytes of one value of each field type, TIFF 6.0 p. 15.
var tiffSizes = [...]int64{0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8}

type tiffState struct {
	order binary.ByteOrder
	need  int64 // length the stream must have at least
}

// tiffEntry is one field of a directory: either its value, or the offset of it.
type tiffEntry struct {
	tag, typ uint16
	count    int64
	value    [4]byte
}

func tiffOrder(mark []byte) binary.ByteOrder {
	if string(mark) == "MM" {
		return binary.BigEndian
	}
	return binary.LittleEndian
}

func readEntry(order binary.ByteOrder, b []byte) tiffEntry {
	e := tiffEntry{tag: order.Uint16(b), typ: order.Uint16(b[2:]), count: int64(order.Uint32(b[4:]))}
	copy(e.value[:], b[8:])
	return e
}

// size gives the bytes of the value, 0 when the type is not one of TIFF 6.0.
func (e tiffEntry) size() int64 {
	if int(e.typ) >= len(tiffSizes) {
		return 0
	}
	return tiffSizes[e.typ] * e.count
}

// offset gives where the value lies when it does not fit the entry itself.
func (e tiffEntry) offset(order binary.ByteOrder) int64 { return int64(order.Uint32(e.value[:])) }

// number gives a single SHORT or LONG value.
func (e tiffEntry) number(order binary.ByteOrder) (int64, bool) {
	switch {
	case e.count != 1:
	case e.typ == tiffShort:
		return int64(order.Uint16(e.value[:])), true
	case e.typ == tiffLong:
		return int64(order.Uint32(e.value[:])), true
	}
	return 0, false
}

// exifOrientation reads the orientation from an EXIF block, which is a small TIFF of its own; 1 when it holds none.
func exifOrientation(b []byte) int {
	if len(b) < 10 || string(b[:2]) != "II" && string(b[:2]) != "MM" {
		return 1
	}
	order := tiffOrder(b[:2])
	at := int64(order.Uint32(b[4:]))
	if order.Uint16(b[2:]) != 42 || at < 8 || at+2 > int64(len(b)) {
		return 1
	}
	count := int(order.Uint16(b[at:]))
	for b = b[at+2:]; count > 0 && len(b) >= 12; count, b = count-1, b[12:] {
		if e := readEntry(order, b); e.tag == tagOrientation {
			return e.orientation(order)
		}
	}
	return 1
}

func (e tiffEntry) orientation(order binary.ByteOrder) int {
	if v, ok := e.number(order); ok && v >= 1 && v <= 8 {
		return int(v)
	}
	return 1
}

// tiffHeader reads the six bytes after the byte order: the magic number and the first directory's offset. The stream only moves
// forward, and so does this: the directory is read when it passes by, wherever in the file it lies.
func (c *Checker) tiffHeader(b []byte) error {
	order := c.tiff.order
	switch order.Uint16(b) {
	case 42:
	case 43:
		return unsupported(TIFF, "BigTIFF")
	default:
		return invalid(errUnknown, "")
	}
	c.info.Format = TIFF
	at := int64(order.Uint32(b[2:]))
	if at < 8 {
		return damaged(TIFF, "a directory inside its header")
	}
	c.passOver(at-8, 2, func(b []byte) error {
		entries := int(order.Uint16(b))
		if entries == 0 || entries*12 > maxCollect {
			return damaged(TIFF, "a directory of %d fields", entries)
		}
		c.tiff.need = at + 2 + int64(entries)*12
		c.take(entries*12, c.tiffDirectory)
		return nil
	})
	return nil
}

func (c *Checker) tiffDirectory(b []byte) error {
	order := c.tiff.order
	var d tiffDir
	for ; len(b) > 0; b = b[12:] {
		d.add(order, readEntry(order, b))
	}
	c.info.Orientation = d.orientation
	if err := d.check(); err != nil {
		return err
	}
	if err := c.size(d.width, d.height); err != nil {
		return err
	}
	for _, e := range []tiffEntry{d.offsets, d.counts} {
		if e.size() > 4 {
			c.tiff.need = max(c.tiff.need, e.offset(order)+e.size())
		}
	}
	if at, ok := d.offsets.number(order); ok {
		n, _ := d.counts.number(order)
		c.tiff.need = max(c.tiff.need, at+n)
	}
	c.scan = func(p []byte) (int, error) { return len(p), nil }
	c.atEnd = func() error {
		if c.info.Bytes < c.tiff.need {
			return truncated(TIFF)
		}
		return nil
	}
	return nil
}

// tiffDir is what the first directory says about the image and where its strips or tiles lie.
type tiffDir struct {
	width, height int64
	compression   int64
	orientation   int
	offsets       tiffEntry
	counts        tiffEntry
}

func (d *tiffDir) add(order binary.ByteOrder, e tiffEntry) {
	v, _ := e.number(order)
	switch e.tag {
	case tagWidth:
		d.width = v
	case tagHeight:
		d.height = v
	case tagCompression:
		d.compression = v
	case tagOrientation:
		d.orientation = e.orientation(order)
	case tagStripOffsets, tagTileOffsets:
		d.offsets = e
	case tagStripCounts, tagTileCnts:
		d.counts = e
	}
}

func (d *tiffDir) check() error {
	d.orientation = max(d.orientation, 1)
	switch d.compression {
	case 0, 1, 2, 3, 4, 5, 8, 32946, 32773: // none, CCITT, LZW, Deflate, PackBits
	default:
		return unsupported(TIFF, "compression method %d", d.compression)
	}
	for _, e := range []tiffEntry{d.offsets, d.counts} {
		if e.typ != tiffShort && e.typ != tiffLong || e.count == 0 {
			return damaged(TIFF, "it does not say where its pixels lie")
		}
	}
	if d.offsets.count != d.counts.count {
		return damaged(TIFF, "%d strips with %d lengths", d.offsets.count, d.counts.count)
	}
	return nil
}
