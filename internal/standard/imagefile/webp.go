package imagefile

import (
	"bytes"
	"encoding/binary"
)

// Flags of the VP8X chunk, WebP container specification (RFC 9649 §2.7).
const (
	webpAnimated = 0x02
	webpXMP      = 0x04
	webpEXIF     = 0x08
)

type webpState struct {
	left     int64 // bytes of the RIFF payload that are still to come
	extended bool
	image    bool
	exifSeen bool
}

// riffHeader reads the ten bytes after "RI": "FF", the payload's length, "WEBP".
func (c *Checker) riffHeader(b []byte) error {
	if string(b[:2]) != "FF" || string(b[6:]) != "WEBP" {
		return invalid(errUnknown, "")
	}
	c.info.Format = WebP
	c.webp.left = int64(binary.LittleEndian.Uint32(b[2:])) - 4
	return c.webpNext(0)
}

// webpNext passes over n bytes of the payload and reads the next chunk header, or ends.
func (c *Checker) webpNext(n int64) error {
	s := &c.webp
	s.left -= n
	switch {
	case s.left < 0:
		return damaged(WebP, "a chunk is longer than the file says it is")
	case s.left >= 8:
		s.left -= 8
		c.passOver(n, 8, c.webpChunk)
		return nil
	case !s.image:
		return damaged(WebP, "it holds no image")
	}
	rest := n + s.left
	if rest == 0 {
		c.done = true
		return nil
	}
	// One byte more than is passed over would not belong to the image, so the last one is taken instead.
	c.passOver(rest-1, 1, func([]byte) error {
		c.done = true
		return nil
	})
	return nil
}

func (c *Checker) webpChunk(b []byte) error {
	kind, length := string(b[:4]), int64(binary.LittleEndian.Uint32(b[4:]))
	padded := length + length&1
	s := &c.webp
	if length > s.left {
		return damaged(WebP, "a chunk is longer than the file says it is")
	}
	padded = min(padded, s.left) // some writers leave out the last pad byte
	head := int64(0)
	var read func([]byte) error
	switch kind {
	case "VP8X":
		head, read = 10, c.webpExtended
	case "VP8 ":
		head, read = 10, c.webpLossy
	case "VP8L":
		head, read = 5, c.webpLossless
	case "EXIF":
		if s.exifSeen || !s.extended || length == 0 {
			return c.webpNext(padded)
		}
		s.exifSeen = true
		head, read = min(length, maxCollect), c.webpExif
	case "ANIM", "ANMF":
		return unsupported(WebP, "it is an animation")
	default:
		return c.webpNext(padded)
	}
	if length < head {
		return damaged(WebP, "its %q chunk is too short", kind)
	}
	c.take(int(head), func(b []byte) error {
		if err := read(b); err != nil {
			return err
		}
		s.left -= head
		return c.webpNext(padded - head)
	})
	return nil
}

func (c *Checker) webpExtended(b []byte) error {
	if c.webp.extended || c.webp.image {
		return damaged(WebP, "its extended header is not in front")
	}
	if b[0]&webpAnimated != 0 {
		return unsupported(WebP, "it is an animation")
	}
	c.webp.extended = true
	return c.size(int64(uint24(b[4:]))+1, int64(uint24(b[7:]))+1)
}

func (c *Checker) webpLossy(b []byte) error {
	if b[0]&1 != 0 || b[3] != 0x9D || b[4] != 0x01 || b[5] != 0x2A {
		return damaged(WebP, "its VP8 frame does not begin as one")
	}
	le := binary.LittleEndian
	return c.webpFrame(int64(le.Uint16(b[6:])&0x3FFF), int64(le.Uint16(b[8:])&0x3FFF))
}

func (c *Checker) webpLossless(b []byte) error {
	bits := binary.LittleEndian.Uint32(b[1:])
	if b[0] != 0x2F || bits>>29 != 0 {
		return damaged(WebP, "its VP8L frame does not begin as one")
	}
	return c.webpFrame(int64(bits&0x3FFF)+1, int64(bits>>14&0x3FFF)+1)
}

// webpFrame takes the bitstream's own dimensions, which must be the canvas's where an extended header named one.
func (c *Checker) webpFrame(width, height int64) error {
	if c.webp.image {
		return damaged(WebP, "it holds two images")
	}
	if c.webp.extended && (width != int64(c.info.Width) || height != int64(c.info.Height)) {
		return damaged(WebP, "frame of %d × %d on a canvas of %d × %d", width, height, c.info.Width, c.info.Height)
	}
	c.webp.image = true
	return c.size(width, height)
}

func (c *Checker) webpExif(b []byte) error {
	c.info.Orientation = exifOrientation(bytes.TrimPrefix(b, []byte(exifPrefix)))
	return nil
}

func uint24(b []byte) uint32 { return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 }
