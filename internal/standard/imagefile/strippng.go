package imagefile

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
)

// pngKept are the chunks that decide how the pixels look, PNG (third edition) §11. All others are dropped, unless a decoder must
// understand them (an upper-case first letter): such a file is refused.
var pngKept = map[string]bool{
	"IHDR": true, "PLTE": true, "IDAT": true, "IEND": true, "tRNS": true, "cHRM": true, "gAMA": true, "iCCP": true,
	"sBIT": true, "sRGB": true, "cICP": true, "mDCV": true, "cLLI": true, "bKGD": true, "pHYs": true,
}

// png copies chunks up to IEND.
func (s *stripper) png() error {
	if err := s.copyN(int64(len(pngSignature))); err != nil {
		return err
	}
	exif := false
	for {
		var head [8]byte
		if _, err := io.ReadFull(s, head[:]); err != nil {
			return err
		}
		length, kind := int64(binary.BigEndian.Uint32(head[:])), string(head[4:])
		if length > maxPNGChunk {
			return damaged(PNG, "a chunk of impossible length")
		}
		var err error
		switch {
		case pngKept[kind]:
			if _, err = s.dst.Write(head[:]); err == nil {
				err = s.copyN(length + 4)
			}
		case kind == "eXIf" && !exif && length > 0:
			exif = true
			err = s.pngExif(length)
		case head[4]&0x20 == 0:
			return unsupported(PNG, "an unknown chunk that decoding needs")
		default:
			_, err = io.CopyN(io.Discard, s, length+4)
		}
		if err != nil {
			return err
		}
		if kind == "IEND" {
			return nil
		}
	}
}

// pngExif replaces an EXIF chunk by its orientation.
func (s *stripper) pngExif(length int64) error {
	head := make([]byte, min(length, maxCollect))
	if _, err := io.ReadFull(s, head); err != nil {
		return err
	}
	if _, err := io.CopyN(io.Discard, s, length-int64(len(head))+4); err != nil {
		return err
	}
	o := exifOrientation(bytes.TrimPrefix(head, []byte(exifPrefix)))
	if o == 1 {
		return nil
	}
	body := minimalEXIF(o)
	chunk := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
	chunk = append(append(chunk, "eXIf"...), body...)
	chunk = binary.BigEndian.AppendUint32(chunk, crc32.ChecksumIEEE(chunk[4:]))
	_, err := s.dst.Write(chunk)
	return err
}

// copyN copies the next n bytes of the image.
func (s *stripper) copyN(n int64) error {
	_, err := io.CopyN(s.dst, s, n)
	return err
}
