package imagefile

import (
	"bytes"
	"encoding/binary"
	"io"
)

// bmp copies headers, colour table and pixels. The gap between colour table and pixels and what follows the pixels are dropped,
// and a colour profile, which would be named by path or lie behind the pixels, becomes sRGB.
func (s *stripper) bmp() error {
	le := binary.LittleEndian
	file := make([]byte, bmpFileHeader+4)
	if _, err := io.ReadFull(s, file); err != nil {
		return err
	}
	l := bmpLayout{pixels: int64(le.Uint32(file[10:])), header: int64(le.Uint32(file[14:]))}
	if err := l.checkHeader(); err != nil {
		return err
	}
	info := make([]byte, l.header-4)
	if _, err := io.ReadFull(s, info); err != nil {
		return err
	}
	l.read(info)
	if err := l.check(); err != nil {
		return err
	}
	gap := l.pixels - l.tables()
	le.PutUint32(file[2:], uint32(min(l.end()-gap, 1<<32-1)))
	le.PutUint32(file[10:], uint32(l.tables()))
	clear(file[6:10])
	if l.header >= 108 {
		dropBMPProfile(info, l.header)
	}
	if _, err := s.dst.Write(append(file, info...)); err != nil {
		return err
	}
	if err := s.copyN(l.tables() - bmpFileHeader - l.header); err != nil {
		return err
	}
	if _, err := io.CopyN(io.Discard, s, gap); err != nil {
		return err
	}
	return s.copyN(l.end() - l.pixels)
}

// dropBMPProfile rewrites the colour space of a version 4 or 5 header, given without its size field.
func dropBMPProfile(info []byte, header int64) {
	const csType, profile = 56 - 4, 112 - 4
	if kind := info[csType : csType+4]; bytes.Equal(kind, []byte("DEBM")) || bytes.Equal(kind, []byte("KNIL")) {
		copy(kind, "BGRs") // 'sRGB', stored little-endian
	}
	if header == 124 {
		clear(info[profile : profile+8])
	}
}
