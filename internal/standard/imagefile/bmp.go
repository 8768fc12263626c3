package imagefile

import (
	"encoding/binary"
)

// A BMP begins with a file header of 14 bytes, then an information header whose first 4 bytes are its size. bmpFirst is what is
// read at once after "BM": the rest of the file header and that size.
const (
	bmpFileHeader = 14
	bmpFirst      = bmpFileHeader - 2 + 4
)

// Compression methods of BITMAPINFOHEADER.
const (
	bmpRGB, bmpRLE8, bmpRLE4, bmpBitfields, bmpAlphaBitfields = 0, 1, 2, 3, 6
)

// bmpLayout is what the headers say about where pixels lie.
type bmpLayout struct {
	header        int64 // size of the information header
	pixels        int64 // offset of the pixel array
	width, height int64
	bits          int
	compression   uint32
	imageSize     int64
	colours       int64
}

func (c *Checker) bmpHeader(b []byte) error {
	l := bmpLayout{pixels: int64(binary.LittleEndian.Uint32(b[8:])), header: int64(binary.LittleEndian.Uint32(b[12:]))}
	if err := l.checkHeader(); err != nil {
		return err
	}
	c.take(int(l.header)-4, func(b []byte) error {
		l.read(b)
		if err := l.check(); err != nil {
			return err
		}
		if err := c.size(l.width, l.height); err != nil {
			return err
		}
		c.bmpEnd = l.end()
		c.atEnd = func() error {
			if c.info.Bytes < c.bmpEnd {
				return truncated(BMP)
			}
			return nil
		}
		c.scan = func(p []byte) (int, error) { return len(p), nil }
		return nil
	})
	return nil
}

func (l *bmpLayout) checkHeader() error {
	switch l.header {
	case 12, 40, 52, 56, 64, 108, 124:
		return nil
	}
	return damaged(BMP, "an information header of %d bytes", l.header)
}

// read takes the information header without its size field. Rows stored top-down have a negative height.
func (l *bmpLayout) read(b []byte) {
	le := binary.LittleEndian
	if l.header == 12 {
		l.width, l.height, l.bits = int64(le.Uint16(b)), int64(le.Uint16(b[2:])), int(le.Uint16(b[6:]))
		return
	}
	l.width, l.height = int64(int32(le.Uint32(b))), int64(int32(le.Uint32(b[4:])))
	if l.height < 0 {
		l.height = -l.height
	}
	l.bits, l.compression = int(le.Uint16(b[10:])), le.Uint32(b[12:])
	l.imageSize, l.colours = int64(le.Uint32(b[16:])), int64(le.Uint32(b[28:]))
}

func (l *bmpLayout) check() error {
	switch l.bits {
	case 1, 2, 4, 8, 16, 24, 32:
	default:
		return damaged(BMP, "%d bits a pixel", l.bits)
	}
	switch l.compression {
	case bmpRGB, bmpBitfields, bmpAlphaBitfields:
	case bmpRLE8, bmpRLE4:
		if l.imageSize == 0 {
			return damaged(BMP, "compressed pixels of unknown length")
		}
	default:
		return unsupported(BMP, "compression method %d", l.compression)
	}
	if l.width <= 0 || l.width > maxSide || l.height <= 0 || l.height > maxSide {
		return damaged(BMP, "width %d, height %d", l.width, l.height)
	}
	if l.width*l.height > 1<<40 {
		return damaged(BMP, "more pixels than a file of this kind can hold")
	}
	if l.pixels < l.tables() {
		return damaged(BMP, "its pixels overlap its headers")
	}
	return nil
}

// tables gives the end of headers, colour masks and colour table: the least offset pixels can have.
func (l *bmpLayout) tables() int64 {
	end := bmpFileHeader + l.header
	if l.header == 40 {
		switch l.compression {
		case bmpBitfields:
			end += 12
		case bmpAlphaBitfields:
			end += 16
		}
	}
	entry := int64(4)
	if l.header == 12 {
		entry = 3
	}
	switch {
	case l.header == 12 && l.bits <= 8:
		return end + entry*(1<<l.bits)
	case l.bits <= 8 && l.colours == 0:
		return end + entry*(1<<l.bits)
	case l.bits <= 8 || l.colours <= 256:
		return end + entry*l.colours
	}
	return end
}

// end gives the offset just after the pixels. Rows are padded to four bytes.
func (l *bmpLayout) end() int64 {
	if l.compression == bmpRLE8 || l.compression == bmpRLE4 {
		return l.pixels + l.imageSize
	}
	return l.pixels + (l.width*int64(l.bits)+31)/32*4*l.height
}
