package imagefile

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
)

const maxPNGChunk = 1<<31 - 1

type pngState struct {
	header, data, exifSeen bool
}

func (c *Checker) pngSignature(b []byte) error {
	if string(b) != pngSignature[2:] {
		return invalid(errUnknown, "")
	}
	c.info.Format = PNG
	c.take(8, c.pngChunk)
	return nil
}

// pngChunk reads a chunk's length and type. The order enforced is the one that matters to a decoder: IHDR first, IEND last.
func (c *Checker) pngChunk(b []byte) error {
	length, kind := int64(binary.BigEndian.Uint32(b)), string(b[4:8])
	s := &c.png
	switch {
	case length > maxPNGChunk:
		return damaged(PNG, "a chunk of impossible length")
	case !isPNGType(b[4:8]):
		return damaged(PNG, "a chunk without a valid type")
	case (kind == "IHDR") == s.header:
		return damaged(PNG, "it must have one header, in front")
	}
	switch kind {
	case "IHDR":
		if length != 13 {
			return damaged(PNG, "a header of %d bytes", length)
		}
		s.header = true
		c.take(13+4, c.pngHeader)
	case "IDAT":
		s.data = true
		c.passOver(length+4, 8, c.pngChunk)
	case "IEND":
		if !s.data || length != 0 {
			return damaged(PNG, "it ends before any image data")
		}
		c.take(4, func(b []byte) error {
			c.done = true
			if binary.BigEndian.Uint32(b) != crc32.ChecksumIEEE([]byte("IEND")) {
				return damaged(PNG, "wrong checksum of its end")
			}
			return nil
		})
	case "eXIf":
		if s.exifSeen || length == 0 {
			c.passOver(length+4, 8, c.pngChunk)
			break
		}
		s.exifSeen = true
		n := min(length, maxCollect)
		c.take(int(n), func(b []byte) error {
			c.info.Orientation = exifOrientation(bytes.TrimPrefix(b, []byte(exifPrefix)))
			c.passOver(length-n+4, 8, c.pngChunk)
			return nil
		})
	default:
		c.passOver(length+4, 8, c.pngChunk)
	}
	return nil
}

// pngDepths gives the bit depths allowed for each colour type, PNG (third edition) table 11.1.
var pngDepths = map[byte][]byte{0: {1, 2, 4, 8, 16}, 2: {8, 16}, 3: {1, 2, 4, 8}, 4: {8, 16}, 6: {8, 16}}

func (c *Checker) pngHeader(b []byte) error {
	sum := crc32.Update(crc32.ChecksumIEEE([]byte("IHDR")), crc32.IEEETable, b[:13])
	if sum != binary.BigEndian.Uint32(b[13:]) {
		return damaged(PNG, "wrong checksum of its header")
	}
	if !bytes.Contains(pngDepths[b[9]], b[8:9]) || b[10] != 0 || b[11] != 0 || b[12] > 1 {
		return damaged(PNG, "colour type %d with %d bits, compression %d, filter %d, interlace %d", b[9], b[8], b[10], b[11], b[12])
	}
	if err := c.size(int64(binary.BigEndian.Uint32(b)), int64(binary.BigEndian.Uint32(b[4:]))); err != nil {
		return err
	}
	c.take(8, c.pngChunk)
	return nil
}

func isPNGType(b []byte) bool {
	for _, ch := range b {
		if (ch < 'A' || ch > 'Z') && (ch < 'a' || ch > 'z') {
			return false
		}
	}
	return true
}
