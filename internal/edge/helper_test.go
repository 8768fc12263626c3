package edge_test

import (
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
)

// bigPNG is 4 MiB in the shape of a PNG: its pixels are noise nobody decodes.
func bigPNG() []byte {
	chunk := func(kind string, body []byte) []byte {
		b := append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), kind...)
		b = append(b, body...)
		return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[4:]))
	}
	noise := make([]byte, 4<<20)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	b := []byte("\x89PNG\r\n\x1a\n")
	b = append(b, chunk("IHDR", []byte("\x00\x00\x04\x00\x00\x00\x04\x00\x08\x06\x00\x00\x00"))...)
	b = append(b, chunk("IDAT", noise)...)
	return append(b, chunk("IEND", nil)...)
}
