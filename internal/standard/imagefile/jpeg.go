package imagefile

import (
	"bytes"
	"encoding/binary"
)

// JPEG markers, ITU-T T.81 table B.1, second byte.
const (
	mSOF0, mSOF1, mSOF2 = 0xC0, 0xC1, 0xC2
	mDHT                = 0xC4
	mJPG                = 0xC8
	mDAC                = 0xCC
	mRST0, mRST7        = 0xD0, 0xD7
	mSOI, mEOI          = 0xD8, 0xD9
	mSOS, mDQT          = 0xDA, 0xDB
	mDNL, mDRI          = 0xDC, 0xDD
	mDHP, mEXP          = 0xDE, 0xDF
	mAPP0, mAPP1        = 0xE0, 0xE1
	mAPP2, mAPP14       = 0xE2, 0xEE
	mAPP15              = 0xEF
	mCOM                = 0xFE
	mTEM                = 0x01
)

type jpegState struct {
	marker   byte
	frames   int
	scans    int
	exifSeen bool
	ff       bool // in a scan: the last byte was 0xFF
}

// jpegMarker reads the two bytes of a marker: 0xFF and its kind.
func (c *Checker) jpegMarker(b []byte) error {
	if b[0] != 0xFF {
		return damaged(JPEG, "0x%02X where a marker was expected", b[0])
	}
	return c.jpegKind(b[1])
}

// jpegKind decides by a marker's second byte; 0xFF there is fill, and the kind follows.
func (c *Checker) jpegKind(kind byte) error {
	s := &c.jpeg
	s.marker = kind
	switch {
	case kind == 0xFF:
		c.take(1, func(b []byte) error { return c.jpegKind(b[0]) })
		return nil
	case kind == mEOI:
		if s.scans == 0 {
			return damaged(JPEG, "it ends before any image data")
		}
		c.done = true
		return nil
	case kind == 0 || kind == mSOI || kind == mTEM || mRST0 <= kind && kind <= mRST7:
		return damaged(JPEG, "unexpected marker 0xFF%02X", kind)
	case kind < mSOF0:
		return damaged(JPEG, "reserved marker 0xFF%02X", kind)
	}
	if err := jpegProcess(kind); err != nil {
		return err
	}
	c.take(2, c.jpegLength)
	return nil
}

// jpegProcess refuses the coding processes no common decoder reads.
func jpegProcess(kind byte) error {
	switch kind {
	case 0xC3:
		return unsupported(JPEG, "lossless coding")
	case 0xC5, 0xC6, 0xC7, mDHP, mEXP:
		return unsupported(JPEG, "hierarchical coding")
	case mJPG, 0xC9, 0xCA, 0xCB, mDAC, 0xCD, 0xCE, 0xCF:
		return unsupported(JPEG, "arithmetic coding")
	}
	return nil
}

func (c *Checker) jpegLength(b []byte) error {
	length := int(binary.BigEndian.Uint16(b)) - 2
	if length < 0 {
		return damaged(JPEG, "a segment of impossible length")
	}
	s := &c.jpeg
	switch kind := s.marker; {
	case kind == mSOF0 || kind == mSOF1 || kind == mSOF2:
		if length < 9 {
			return damaged(JPEG, "its frame header is too short")
		}
		c.take(length, c.jpegFrame)
	case kind == mSOS:
		if s.frames == 0 || length < 6 {
			return damaged(JPEG, "a scan without a frame header")
		}
		if c.headerOnly {
			c.done = true
			return nil
		}
		s.scans++
		c.skip = int64(length)
		s.ff = false
		c.scan = c.jpegScan
	case kind == mAPP1 && !s.exifSeen && s.scans == 0 && length > 0:
		n := min(length, maxCollect)
		c.take(n, func(b []byte) error {
			if tiff, ok := bytes.CutPrefix(b, []byte(exifPrefix)); ok {
				s.exifSeen = true
				c.info.Orientation = exifOrientation(tiff)
			}
			c.passOver(int64(length-n), 2, c.jpegMarker)
			return nil
		})
	default:
		c.passOver(int64(length), 2, c.jpegMarker)
	}
	return nil
}

// exifPrefix begins an APP1 segment that holds EXIF; some writers put it in front of a PNG or WebP chunk too.
const exifPrefix = "Exif\x00\x00"

// jpegFrame reads SOF0 to SOF2: precision, height, width, components.
func (c *Checker) jpegFrame(b []byte) error {
	if c.jpeg.frames++; c.jpeg.frames > 1 {
		return damaged(JPEG, "two frame headers")
	}
	precision, components := b[0], int(b[5])
	height, width := binary.BigEndian.Uint16(b[1:]), binary.BigEndian.Uint16(b[3:])
	switch {
	case len(b) != 6+3*components:
		return damaged(JPEG, "its frame header does not fit %d components", components)
	case components != 1 && components != 3 && components != 4:
		return unsupported(JPEG, "%d colour components", components)
	case precision != 8 && precision != 12:
		return damaged(JPEG, "%d bits a sample", precision)
	case height == 0:
		return unsupported(JPEG, "the height is left to the end of the scan (DNL)")
	}
	if err := c.size(int64(width), int64(height)); err != nil {
		return err
	}
	c.take(2, c.jpegMarker)
	return nil
}

// jpegScan passes over entropy-coded data: 0xFF00 is a stuffed byte, 0xFFD0–D7 a restart, 0xFFFF fill, anything else ends it.
func (c *Checker) jpegScan(p []byte) (int, error) {
	s := &c.jpeg
	for i := 0; i < len(p); {
		if !s.ff {
			at := bytes.IndexByte(p[i:], 0xFF)
			if at < 0 {
				return len(p), nil
			}
			i += at + 1
			s.ff = true
			continue
		}
		kind := p[i]
		i++
		if kind == 0xFF {
			continue
		}
		s.ff = false
		if kind != 0 && (kind < mRST0 || kind > mRST7) {
			return i, c.jpegKind(kind)
		}
	}
	return len(p), nil
}
